//! Metrics as lines of text.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt::{self, Display};
use std::io::Write;

use burn::train::LearnerSummary;
use burn::train::metric::{
    MetricAttributes, MetricDefinition, MetricEntry, MetricId, NumericEntry,
};
use burn::train::renderer::{
    EvaluationName, EvaluationProgress, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining, ProgressType, TrainingProgress,
};

/// Writes a line after each epoch, with the mean of each metric over the epoch.
///
/// Where there is no terminal burn-train would print a line for each batch, without metrics.
pub struct PlainRenderer<W> {
    output: W,
    metrics: HashMap<MetricId, Label>,
    train: Means,
    valid: Means,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    name: String,
    unit: String,
}

/// Sum and number of items of each metric.
#[derive(Default)]
struct Means(BTreeMap<Label, (f64, usize)>);

impl Means {
    fn add(&mut self, label: Label, entry: NumericEntry) {
        let count = match entry {
            NumericEntry::Value(_) => 1,
            NumericEntry::Aggregated { count, .. } => count,
        };
        let (sum, items) = self.0.entry(label).or_default();
        *sum += entry.current() * count as f64;
        *items += count;
    }
}

impl Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (label, (sum, items)) in &self.0 {
            let mean = sum / *items as f64;
            write!(f, "  {} {mean:.4}{}", label.name, label.unit)?;
        }
        Ok(())
    }
}

impl<W: Write> PlainRenderer<W> {
    /// A renderer that writes to `output`, and goes on if it cannot: a run does not end because nobody reads its lines any more.
    pub fn new(output: W) -> Self {
        Self {
            output,
            metrics: HashMap::new(),
            train: Means::default(),
            valid: Means::default(),
        }
    }

    fn write(&mut self, text: impl Display) {
        writeln!(self.output, "{text}").ok();
    }

    fn numeric(&self, state: MetricState) -> Option<(Label, NumericEntry)> {
        match state {
            MetricState::Numeric(MetricEntry { metric_id, .. }, entry) => {
                Some((self.metrics.get(&metric_id)?.clone(), entry))
            }
            MetricState::Generic(_) => None,
        }
    }

    /// The line of an epoch, if `progress` is at its end: validation comes last.
    fn line(&mut self, progress: &TrainingProgress) -> Option<String> {
        let items = progress.progress.as_ref()?;
        if items.items_processed < items.items_total {
            return None;
        }
        let epochs = &progress.global_progress;
        let (train, valid) = (
            std::mem::take(&mut self.train),
            std::mem::take(&mut self.valid),
        );
        Some(format!(
            "epoch {}/{}  train:{train}  valid:{valid}",
            epochs.items_processed, epochs.items_total
        ))
    }
}

impl<W: Write + Send + Sync> MetricsRendererTraining for PlainRenderer<W> {
    fn update_train(&mut self, state: MetricState) {
        if let Some((label, entry)) = self.numeric(state) {
            self.train.add(label, entry);
        }
    }

    fn update_valid(&mut self, state: MetricState) {
        if let Some((label, entry)) = self.numeric(state) {
            self.valid.add(label, entry);
        }
    }

    fn render_train(&mut self, _progress: TrainingProgress, _indicators: Vec<ProgressType>) {}

    fn render_valid(&mut self, progress: TrainingProgress, _indicators: Vec<ProgressType>) {
        if let Some(line) = self.line(&progress) {
            self.write(line);
        }
    }

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        if let Some(summary) = summary {
            self.write(summary);
        }
        Ok(())
    }
}

impl<W: Write + Send + Sync> MetricsRendererEvaluation for PlainRenderer<W> {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}

    fn render_test(&mut self, _progress: EvaluationProgress, _indicators: Vec<ProgressType>) {}
}

impl<W: Write + Send + Sync> MetricsRenderer for PlainRenderer<W> {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let unit = match definition.attributes {
            MetricAttributes::Numeric(attributes) => attributes.unit,
            MetricAttributes::None => None,
        };
        let label = Label {
            name: definition.name,
            unit: unit.map(|unit| format!(" {unit}")).unwrap_or_default(),
        };
        self.metrics.insert(definition.metric_id, label);
    }
}
