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
//! all ranks take the same steps. After each epoch rank 0 writes a checkpoint to `--artifacts`, which all nodes resume from with `--resume`:
//! on another machine it is copied there, or the folder is shared. If a rank is lost, all others end with an error that names it. Without
//! arguments it is one process with one device.
//!
//! To use it in a project of your own, put your backend in place of `mac_burn_examples::backend`, your model and data in place of the LeNet and
//! the digits.
#![allow(clippy::print_stdout, reason = "the output of this program is text")]

mod checkpoint;
mod digits;

use burn::lr_scheduler::{LrScheduler, cosine::CosineAnnealingLrSchedulerConfig};
use burn::module::AutodiffModule;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::backend::{AutodiffBackend, DeviceOps};
use checkpoint::Progress;
use clap::Parser;
use mac_burn::replicas::{
    GradientReduction, Replicas, RunDescription, TcpReplicas, TcpReplicasConfig,
};
use mac_burn::{Mac, MacConfig};
use mac_burn_examples::backend::{self, Training};
use mac_burn_models::{LeNet, LeNetConfig};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Images of the whole batch, that of all ranks.
const BATCH: usize = 32;

/// Trains a LeNet on handwritten digits of 8×8 pixels, on several machines.
#[derive(Parser, Clone)]
struct Args {
    /// Address of the first node, where its rank 0 listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:29500")]
    orchestrator: String,
    /// Number of nodes, each of which is a process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// Number of this node, from 0
    #[arg(long, alias = "rank", default_value_t = 0)]
    node: u16,
    /// Devices of each node, the same on all; each has a thread
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
    /// Seconds that a rank waits for another before it gives it up; more than the slowest needs for a step and a checkpoint
    #[arg(long, default_value_t = 60.0)]
    timeout: f64,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the ranks of this node.
fn run(args: &Args) -> Result<(), Failure> {
    if args.node >= args.nodes {
        let reason = format!(
            "--node is {}, but must be below --nodes {}",
            args.node, args.nodes
        );
        return Err(reason.into());
    }
    if let Some(folder) = &args.artifacts {
        checkpoint::check(folder, args.resume)?;
    }
    let first = backend::device()?;
    let devices = devices_of::<Training>(&first, usize::from(args.devices))?;
    // Drawn and loaded once: a process has one generator.
    Training::seed(&first, args.seed);
    let config = LeNetConfig::new([8, 8]).with_channels([32, 64]);
    let model: LeNet<Training> = config.init(&first);
    let start = (model, settings().try_init()?, Progress::default());
    let start = match &args.artifacts {
        Some(folder) if args.resume => checkpoint::load(folder, start, &first)?,
        _ => start,
    };
    let of_first = usize::from(args.node) * devices.len();
    thread::scope(|scope| {
        let ranks = devices.into_iter().enumerate().map(|(index, device)| {
            let (model, optimizer, progress) = start.clone();
            // A recorder shares what it has seen with its clones; each rank has its own.
            let model = mac_burn::with_fresh_recorders(model.fork(&device));
            scope.spawn(move || Rank::connect(args, of_first + index, device, model, optimizer)?.train(progress))
        });
        let ranks: Vec<_> = ranks.collect();
        let mut outcomes = ranks.into_iter().map(|rank| match rank.join() {
            Ok(outcome) => outcome,
            Err(_) => Err("the thread of a rank has panicked".into()),
        });
        // All are joined: the first failure is told.
        let failures: Vec<_> = outcomes.by_ref().filter_map(Result::err).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    })
}

/// So many devices; a backend with one device has all its ranks there.
fn devices_of<B: Backend>(first: &B::Device, count: usize) -> Result<Vec<B::Device>, Failure> {
    let kind = first.id().type_id;
    match B::device_count(kind) {
        0 | 1 => Ok(vec![first.clone(); count]),
        available if available < count => {
            Err(format!("--devices is {count}, but this machine has {available}").into())
        }
        _ => Ok((0..count)
            .map(|index| Device::from_id(first, index))
            .collect()),
    }
}
