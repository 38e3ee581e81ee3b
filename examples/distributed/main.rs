//! Trains a LeNet on handwritten digits with MAC on several machines, one process each, and on several devices of each, one thread each:
//!
//! ```text
//! # On the first machine, whose address the others reach:
//! cargo run --release --example distributed -- --orchestrator 10.0.0.1:29500 --nodes 2 --node 0 --artifacts run
//! # On the second:
//! cargo run --release --example distributed -- --orchestrator 10.0.0.1:29500 --nodes 2 --node 1 --artifacts run
//! ```
//!
//! Each rank, a device of a node, has a share of each batch. Gradients and the sums that MAC is made of are reduced by the same collective, so
//! all ranks take the same steps. After each epoch rank 0 writes a checkpoint to `--artifacts`, from which all nodes continue with `--resume`:
//! the folder is shared by the machines, or copied to them. If a rank is lost, all others end with an error that names it. Without
//! arguments it is one process with one device.
//!
//! To use it in a project of your own, put your backend in place of `mac_burn_examples::backend`, and your model and data in place of the LeNet
//! and the digits.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

use burn::lr_scheduler::{LrScheduler, cosine::CosineAnnealingLrSchedulerConfig};
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, Optimizer};
use burn::prelude::*;
use burn::record::Recorder;
use burn::tensor::backend::{DeviceId, DeviceOps};
use clap::Parser;
use mac_burn::replicas::{GradientReduction, Replicas, RunDescription, TcpAllReduceConfig};
use mac_burn::{Mac, MacConfig};
use mac_burn_examples::atomic_recorder::AtomicRecorder;
use mac_burn_examples::backend::{self, Selected, Training};
use mac_burn_examples::images::{Images, digits};
use mac_burn_models::{LeNet, LeNetConfig};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Images of the whole batch, that of all ranks.
const BATCH: usize = 32;
/// The checkpoint in the folder.
const CHECKPOINT: &str = "checkpoint";

/// Trains a LeNet on handwritten digits of 8×8 pixels, on several machines.
#[derive(Parser)]
struct Args {
    /// Address of the first node, where its rank 0 listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:29500")]
    orchestrator: String,
    /// Number of nodes, each of which is a process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// Number of this node, from 0
    #[arg(long, default_value_t = 0)]
    node: u16,
    /// Devices of each node, the same number on all; each has a thread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    devices: u16,
    /// Number of epochs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    epochs: u16,
    /// Learning rate at the start of a cosine schedule, in (0, 1]
    #[arg(long, default_value_t = 0.05)]
    lr: f64,
    /// Random seed, of the initial parameters and of the order of the images
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the checkpoint, which rank 0 writes after each epoch
    #[arg(long, value_name = "FOLDER")]
    artifacts: Option<PathBuf>,
    /// Continue from the checkpoint in the folder
    #[arg(long, requires = "artifacts")]
    resume: bool,
    /// Seconds that rank 0 waits for another rank before it gives it up: more than the slowest needs for a step, a validation and a checkpoint
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Network = LeNet<Training>;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let failed = |error| eprintln!("error: {error}");
    let outcome = run(&Args::parse()).map_err(failed);
    outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Runs the ranks of this node.
fn run(args: &Args) -> Result<(), Failure> {
    if args.node >= args.nodes {
        let (node, nodes) = (args.node, args.nodes);
        return Err(format!("--node is {node}, but must be below --nodes, {nodes}").into());
    }
    let first = backend::device()?;
    let available = Selected::device_count(first.id().type_id);
    let devices = devices(&first, available, usize::from(args.devices))?;
    Training::seed(&first, args.seed);
    let config = LeNetConfig::new([8, 8]).with_channels([32, 64]);
    let model: Network = config.init(&first);
    // Parameters are drawn when they are first used: here, and not in each clone anew.
    let model = model.fork(&first);
    let first_rank = usize::from(args.node) * devices.len();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let ranks = devices.iter().enumerate().map(|(index, device)| {
            // Models that train in threads of their own share no recorders.
            let model = mac_burn::with_fresh_recorders(model.clone().fork(device));
            scope.spawn(move || train(args, first_rank + index, model, device))
        });
        let ranks: Vec<_> = ranks.collect();
        let joined = ranks.into_iter().map(|rank| rank.join());
        joined.collect()
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a rank of this node has panicked")??;
    }
    Ok(())
}

/// So many devices of a machine. Where there is one only, as a processor is, all ranks have that.
fn devices<D: DeviceOps>(first: &D, available: usize, count: usize) -> Result<Vec<D>, Failure> {
    if available <= 1 {
        return Ok(vec![first.clone(); count]);
    }
    if available < count {
        return Err(format!("--devices is {count}, but this machine has {available}").into());
    }
    let ids = (0..count).map(|index| DeviceId::new(first.id().type_id, index as u16));
    Ok(ids.map(D::from_id).collect())
}

/// The training of a rank.
fn train(
    args: &Args,
    rank: usize,
    mut model: Network,
    device: &Device<Selected>,
) -> Result<(), Failure> {
    let config = MacConfig::new()
        .with_weight_decay(5e-3)
        // Refreshed often: a run of 5 epochs has only 235 steps.
        .with_tinv(5);
    let mut optimizer = config.try_init()?;
    let mut done = 0;
    if let Some(folder) = args.artifacts.as_ref().filter(|_| args.resume) {
        (done, model, optimizer) = load(folder, model, optimizer, device)?;
    }

    // All ranks are compared with rank 0 before the first step.
    let description = RunDescription::new()
        .with_model(&model)
        .with_parameter_values(&model)
        .with("configuration of MAC", &config)
        .with("epochs", args.epochs)
        .with("epochs that are done", done)
        .with("learning rate", args.lr)
        .with("seed", args.seed);
    let ranks = usize::from(args.nodes) * usize::from(args.devices);
    let connection = TcpAllReduceConfig::new(&args.orchestrator, rank, ranks)
        .with_timeout(args.timeout)
        .init(&description)?;
    // Shares of a last batch may differ: each rank's loss is its part of that of the whole batch.
    let replicas = Replicas::new(Arc::new(connection)).with_reduction(GradientReduction::Sum);
    optimizer = optimizer.with_replicas(replicas.clone());

    let images = digits::load();
    let steps = images.train.len().div_ceil(BATCH);
    let total = usize::from(args.epochs) * steps;
    let mut schedule = CosineAnnealingLrSchedulerConfig::new(args.lr, total).init()?;
    for _ in 0..done * steps {
        schedule.step();
    }
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    let start = Instant::now();
    if rank == 0 {
        println!("{ranks} ranks, {} parameters", model.num_params());
        println!("epoch  train loss  test accuracy      time");
    }
    for epoch in done..usize::from(args.epochs) {
        // The same order on all ranks, and after a checkpoint.
        let mut order: Vec<usize> = (0..images.train.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(args.seed + epoch as u64));
        let mut sum = Tensor::<Selected, 1>::zeros([1], device);
        for batch in order.chunks(BATCH) {
            let share: Vec<_> = batch.iter().skip(rank).step_by(ranks).collect();
            let mut grads = GradientsParams::new();
            if !share.is_empty() {
                let part = share.len() as f64 / batch.len() as f64;
                let share = share.into_iter().map(|index| &images.train[*index]);
                let share = images.batch::<Training>(share, device);
                let logits = model.forward(share.images);
                let loss = cross_entropy.forward(logits, share.targets) * part;
                sum = sum + loss.clone().inner() * batch.len() as f64;
                grads = GradientsParams::from_grads(loss.backward(), &model);
            }
            let grads = replicas.reduce_gradients(&model, grads)?;
            model = optimizer.try_step(schedule.step(), model, grads)?;
        }
        let loss = replicas.sum(sum)?.into_scalar().elem::<f64>() / order.len() as f64;
        // The same on all ranks.
        if !loss.is_finite() {
            let (epoch, lr) = (epoch + 1, args.lr);
            return Err(
                format!("training diverged in epoch {epoch}: --lr {lr} is too large").into(),
            );
        }
        if rank == 0 {
            let accuracy = accuracy(&model, &images, device);
            let seconds = start.elapsed().as_secs_f64();
            let epoch = epoch + 1;
            println!("{epoch:>5}  {loss:>10.4}  {accuracy:>11.2} %  {seconds:>6.2} s");
            if let Some(folder) = &args.artifacts {
                save(folder, epoch, &model, &optimizer)?;
            }
        }
    }
    if rank == 0 {
        println!("{}", optimizer.report(&model));
    }
    // Nobody leaves before all have come so far.
    replicas.sum(Tensor::zeros([1], device))?;
    Ok(())
}

/// Of the validation images, in percent.
fn accuracy(model: &Network, images: &Images, device: &Device<Selected>) -> f64 {
    let batch = images.batch::<Selected>(&images.valid, device);
    let found = model.valid().forward(batch.images).argmax(1).squeeze_dim(1);
    let right = found.equal(batch.targets).float().mean();
    100.0 * right.into_scalar().elem::<f64>()
}

/// Writes epoch, model and optimizer into one file, which is there whole or not at all.
fn save(
    folder: &Path,
    epoch: usize,
    model: &Network,
    optimizer: &Mac<Network, Training>,
) -> Result<(), Failure> {
    let record = (epoch, model.clone().into_record(), optimizer.to_record());
    Ok(Recorder::<Training>::record(
        &AtomicRecorder,
        record,
        folder.join(CHECKPOINT),
    )?)
}

fn load(
    folder: &Path,
    model: Network,
    optimizer: Mac<Network, Training>,
    device: &Device<Selected>,
) -> Result<(usize, Network, Mac<Network, Training>), Failure> {
    let file = folder.join(CHECKPOINT);
    let loaded = Recorder::<Training>::load(&AtomicRecorder, file, device);
    let (epoch, record, state) = loaded.map_err(|error| {
        let folder = folder.display();
        format!("the checkpoint in `{folder}` cannot be read: {error}")
    })?;
    let model = model.load_record(record);
    let optimizer = optimizer.try_load_record(state, &model)?;
    Ok((epoch, model, optimizer))
}
