//! Ranks in processes of their own, of which some are killed.

use super::network::{CurvatureConfigs, Optim, Shared, config, train_rank, train_replicas};
use super::support::values;
use burn::backend::Autodiff;
use burn::module::Module;
use burn::optim::{GradientsParams, Optimizer};
use burn::record::{BinBytesRecorder, FullPrecisionSettings, Record, Recorder};
use burn_flex::Flex;
use mac_burn::MacError;
use mac_burn::replicas::{
    GradientReduction, ReplicaError, Replicas, RunDescription, TcpAllReduceConfig,
};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

type B = Autodiff<Flex>;

const STEPS: u64 = 50;
/// Steps between checkpoints.
const EVERY: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Names the settings of a worker in a process that is one.
const WORKER: &str = "MAC_REPLICAS_WORKER";

/// The moment at which a worker says so and waits to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Never,
    /// Between the gradients and the statistics of a step that records.
    InStep(u64),
    /// With half of a checkpoint written.
    InCheckpoint(u64),
}

impl Waits {
    fn write(self) -> String {
        match self {
            Self::Never => "never 0".to_string(),
            Self::InStep(step) => format!("step {step}"),
            Self::InCheckpoint(step) => format!("checkpoint {step}"),
        }
    }

    fn read(text: &str) -> Self {
        let (kind, step) = text.split_once(' ').expect("two words");
        let step = step.parse().expect("a number");
        match kind {
            "step" => Self::InStep(step),
            "checkpoint" => Self::InCheckpoint(step),
            _ => Self::Never,
        }
    }
}

/// A rank's settings, as they are handed over.
struct Worker {
    rank: usize,
    ranks: usize,
    address: String,
    folder: PathBuf,
    resumes: bool,
    waits: Waits,
}

impl Worker {
    fn here() -> Option<Self> {
        let settings = std::env::var(WORKER).ok()?;
        let mut lines = settings.lines();
        let mut next = || lines.next().expect("all settings are there");
        Some(Self {
            rank: next().parse().expect("a number"),
            ranks: next().parse().expect("a number"),
            address: next().to_string(),
            folder: next().into(),
            resumes: next() == "true",
            waits: Waits::read(next()),
        })
    }

    fn start(&self) -> Child {
        let settings = [
            self.rank.to_string(),
            self.ranks.to_string(),
            self.address.clone(),
            self.folder.display().to_string(),
            self.resumes.to_string(),
            self.waits.write(),
        ];
        Command::new(std::env::current_exe().expect("a test has an executable"))
            .args(["--exact", "processes::worker", "--nocapture"])
            .env(WORKER, settings.join("\n"))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this executable can be run again")
    }

    fn run(&self) -> Result<Vec<Vec<f64>>, MacError> {
        let (mut network, mut optim) = (
            Shared::<B>::new(),
            CurvatureConfigs::<B>::optimizer(&config()),
        );
        let mut first = 0;
        if self.resumes {
            (first, network, optim) = load(&self.folder, network, optim);
        }
        let description = RunDescription::new()
            .with_model(&network)
            .with_parameter_values(&network)
            .with("configuration", config())
            .with("first step", first);
        let connection = TcpAllReduceConfig::new(self.address.clone(), self.rank, self.ranks)
            .with_timeout(TIMEOUT)
            .init(&description)?;
        let replicas = Replicas::new(Arc::new(connection));
        optim = optim.with_replicas(replicas.clone());
        for step in first..STEPS {
            if self.waits == Waits::InStep(step) {
                let loss = network.loss_of(step, self.rank, self.ranks);
                let grads = GradientsParams::from_grads(loss.backward(), &network);
                replicas.reduce_gradients(&network, grads)?;
                self.wait_to_be_killed();
            }
            network = train_rank(&replicas, network, &mut optim, step..step + 1)?;
            let done = step + 1;
            if self.rank == 0 && done.is_multiple_of(EVERY) {
                self.save(done, &network, &optim);
            }
        }
        Ok(values(&network))
    }

    /// Writes a second file and renames it.
    fn save(&self, step: u64, network: &Shared<B>, optim: &Optim<B>) {
        let model = to_bytes(network.clone().into_record());
        let mut bytes = step.to_le_bytes().to_vec();
        bytes.extend((model.len() as u64).to_le_bytes());
        bytes.extend(model);
        bytes.extend(to_bytes(optim.to_record()));
        let unfinished = self.folder.join("checkpoint.unfinished");
        let mut file = fs::File::create(&unfinished).expect("the folder is there");
        if self.waits == Waits::InCheckpoint(step) {
            file.write_all(&bytes[..bytes.len() / 2])
                .expect("there is room");
            self.wait_to_be_killed();
        }
        file.write_all(&bytes).expect("there is room");
        file.sync_all().expect("there is room");
        fs::rename(unfinished, self.folder.join("checkpoint")).expect("the folder is there");
    }

    fn wait_to_be_killed(&self) {
        fs::write(self.folder.join("waits"), "").expect("the folder is there");
        sleep(Duration::from_secs(600));
    }
}

fn load(folder: &Path, network: Shared<B>, optim: Optim<B>) -> (u64, Shared<B>, Optim<B>) {
    let bytes = fs::read(folder.join("checkpoint")).expect("there is a checkpoint");
    let number = |at: usize| {
        let bytes: [u8; 8] = bytes[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let (model, state) = bytes[16..].split_at(number(8) as usize);
    let network = network.load_record(from_bytes(model));
    let optim = optim.try_load_record(from_bytes(state), &network);
    (number(0), network, optim.expect("it is of this model"))
}

fn to_bytes<R: Record<B>>(record: R) -> Vec<u8> {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::record(&files, record, ()).expect("the record is written")
}

fn from_bytes<R: Record<B>>(bytes: &[u8]) -> R {
    let files = BinBytesRecorder::<FullPrecisionSettings>::new();
    Recorder::<B>::load(&files, bytes.to_vec(), &Default::default()).expect("the record is read")
}

/// The work of a process that was started for it; of the test's own process nothing.
#[test]
fn worker() {
    let Some(worker) = Worker::here() else {
        return;
    };
    let outcome = match worker.run() {
        Ok(values) => {
            let all = values.iter().flatten();
            let bits: Vec<String> = all.map(|value| format!("{:x}", value.to_bits())).collect();
            format!("values\n{}", bits.join(" "))
        }
        Err(MacError::Replica(error)) => {
            let rank = match &error {
                ReplicaError::Lost { rank, .. } => format!("lost {rank}"),
                other => format!("other {other:?}"),
            };
            format!("{rank}\n{error}")
        }
        Err(error) => format!("other\n{error}"),
    };
    let file = worker.folder.join(format!("outcome-{}", worker.rank));
    fs::write(file, outcome).expect("the folder is there");
}

/// The processes of a run.
struct Run {
    workers: Vec<(usize, Child)>,
    folder: PathBuf,
}

impl Run {
    fn start(folder: &Path, ranks: usize, resumes: bool, waits: (usize, Waits)) -> Self {
        for rank in 0..ranks {
            drop(fs::remove_file(folder.join(format!("outcome-{rank}"))));
        }
        drop(fs::remove_file(folder.join("waits")));
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("there is a loopback");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        let workers = (0..ranks).map(|rank| {
            let worker = Worker {
                rank,
                ranks,
                address: address.clone(),
                folder: folder.to_path_buf(),
                resumes,
                waits: if rank == waits.0 {
                    waits.1
                } else {
                    Waits::Never
                },
            };
            (rank, worker.start())
        });
        Self {
            workers: workers.collect(),
            folder: folder.to_path_buf(),
        }
    }

    /// Kills the rank when it waits for that, and tells when.
    fn kill(&mut self, rank: usize) -> Instant {
        let start = Instant::now();
        while !self.folder.join("waits").exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "nobody waits");
            sleep(Duration::from_millis(5));
        }
        // The others are in the next sum by then.
        sleep(Duration::from_millis(100));
        let mut worker = self.workers.remove(rank).1;
        let killed = Instant::now();
        worker.kill().expect("it runs");
        worker.wait().expect("it ran");
        killed
    }

    /// The words of the workers that are left.
    fn outcomes(mut self) -> Vec<String> {
        let outcomes = self.workers.iter_mut().map(|(rank, worker)| {
            worker.wait().expect("it ran");
            let file = self.folder.join(format!("outcome-{rank}"));
            fs::read_to_string(file).expect("each rank has an outcome")
        });
        outcomes.collect()
    }
}

/// Leaves no process behind, also after a panic.
impl Drop for Run {
    fn drop(&mut self) {
        for (_, worker) in &mut self.workers {
            // One that has ended cannot be killed.
            drop(worker.kill());
            drop(worker.wait());
        }
    }
}

/// The bits of the parameters of ranks in threads, which nobody interrupts.
fn uninterrupted(ranks: usize) -> String {
    let all = train_replicas::<B>(&config(), ranks, STEPS, GradientReduction::Mean, true);
    let bits = all[0].iter().flatten();
    let bits: Vec<String> = bits.map(|value| format!("{:x}", value.to_bits())).collect();
    format!("values\n{}", bits.join(" "))
}

/// Breaks when sums depend on who comes first, or on where ranks run.
#[test]
fn processes_have_the_bits_of_threads() {
    for ranks in [2, 4] {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let run = Run::start(folder.path(), ranks, false, (0, Waits::Never));
        let expected = uninterrupted(ranks);
        for outcome in run.outcomes() {
            assert!(
                outcome == expected,
                "{ranks} ranks: {}",
                &outcome[..200.min(outcome.len())]
            );
        }
    }
}

/// Kills a rank, sees the others end, and resumes all from the last checkpoint.
fn check_killed(killed: usize, waits: Waits, resumed_from: u64) {
    let ranks = 4;
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let mut run = Run::start(folder.path(), ranks, false, (killed, waits));
    let at = run.kill(killed);
    let outcomes = run.outcomes();
    let waited = at.elapsed();
    println!("rank {killed} killed, {waits:?}: all others have ended after {waited:.2?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    for outcome in outcomes {
        println!("  {}", outcome.replace('\n', ": "));
        assert!(
            outcome.starts_with(&format!("lost {killed}\n")),
            "{outcome}"
        );
    }
    let checkpoint = fs::read(folder.path().join("checkpoint")).expect("there is one");
    assert_eq!(checkpoint[..8], resumed_from.to_le_bytes());
    let run = Run::start(folder.path(), ranks, true, (0, Waits::Never));
    let expected = uninterrupted(ranks);
    for outcome in run.outcomes() {
        assert!(
            outcome == expected,
            "{}",
            &outcome[..200.min(outcome.len())]
        );
    }
}

/// Breaks when the end of a process is not seen, or its rank not told to the others; or if what a rank keeps is not in the checkpoint of rank 0.
#[test]
fn a_rank_killed_in_a_step_ends_the_others_and_all_resume() {
    // A step that records, and one that does not.
    check_killed(2, Waits::InStep(24), 20);
    check_killed(1, Waits::InStep(25), 20);
}

/// Breaks when a checkpoint is written over the last.
#[test]
fn rank_0_killed_in_a_checkpoint_ends_the_others_and_all_resume() {
    check_killed(0, Waits::InCheckpoint(30), 20);
}
