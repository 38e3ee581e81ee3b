use std::error::Error;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use thiserror::Error;

use super::Progress;

/// Width and height of the picture, in pixels.
const SIZE: (u32, u32) = (640, 400);

/// The files that the course of a run is written to.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CurveArgs {
    /// Write the losses to this file, a row for each validation
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Draw the losses against steps into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// A file of a curve that cannot be read or written.
#[derive(Debug, Error)]
#[error("{option} {}: {source}", file.display())]
pub struct CurveError {
    option: &'static str,
    file: PathBuf,
    source: Box<dyn Error>,
}

/// The losses of a run, written to files at each new point, so that an interrupted run leaves them too.
pub struct Curve {
    files: CurveArgs,
    points: Vec<Progress>,
}

impl Curve {
    /// An empty curve. What the files held is gone.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(files: CurveArgs) -> Result<Self, CurveError> {
        Self::of(files, Vec::new())
    }

    /// The curve of a run that continues after `step`, with the points up to there that the table has from before.
    ///
    /// # Errors
    /// If the table is none of a curve, or a file cannot be written.
    pub fn resumed(files: CurveArgs, step: usize) -> Result<Self, CurveError> {
        let mut points = match &files.csv {
            Some(file) if file.exists() => {
                let read = || csv::Reader::from_path(file)?.deserialize().collect();
                let points: Result<Vec<Progress>, csv::Error> = read();
                points.map_err(|error| CurveError::new("--csv", file, error))?
            }
            _ => Vec::new(),
        };
        points.retain(|point| point.step <= step);
        Self::of(files, points)
    }

    /// A curve of these points.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn of(files: CurveArgs, points: Vec<Progress>) -> Result<Self, CurveError> {
        let curve = Self { files, points };
        curve.write()?;
        Ok(curve)
    }

    /// Adds a point.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn add(&mut self, point: Progress) -> Result<(), CurveError> {
        self.points.push(point);
        self.write()
    }

    fn write(&self) -> Result<(), CurveError> {
        if let Some(file) = &self.files.csv {
            self.table(file)
                .map_err(|error| CurveError::new("--csv", file, error))?;
        }
        if let Some(file) = &self.files.plot {
            // The drawing library names no reason why a file cannot be written.
            let picture = self.picture();
            picture
                .and_then(|picture| Ok(std::fs::write(file, picture)?))
                .map_err(|error| CurveError::new("--plot", file, error))?;
        }
        Ok(())
    }

    fn table(&self, file: &Path) -> Result<(), csv::Error> {
        let mut table = csv::WriterBuilder::new()
            .has_headers(false)
            .from_path(file)?;
        // The header even of a curve without points.
        table.write_record([
            "step",
            "train_loss",
            "validation_loss",
            "validation_accuracy",
            "seconds",
        ])?;
        self.points
            .iter()
            .try_for_each(|point| table.serialize(point))?;
        Ok(table.flush()?)
    }

    /// The picture as SVG.
    fn picture(&self) -> Result<String, Box<dyn Error>> {
        let validation = |point: &Progress| Some((point.step, point.validation_loss));
        let train = |point: &Progress| Some((point.step, point.train_loss?));
        let train = self.points.iter().filter_map(train).collect();
        let validation = self.points.iter().filter_map(validation).collect();
        let lines: [(_, _, Vec<(usize, f64)>); 2] =
            [("training", BLUE, train), ("validation", RED, validation)];
        let values = || lines.iter().flat_map(|(_, _, line)| line);
        let last = values().map(|(step, _)| *step).fold(1, usize::max);
        let losses = values()
            .map(|(_, loss)| *loss)
            .filter(|loss| loss.is_finite());
        let largest = losses.fold(f64::MIN_POSITIVE, f64::max);

        let mut picture = String::new();
        {
            let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(10)
                .x_label_area_size(40)
                .y_label_area_size(50)
                .build_cartesian_2d(0..last, 0.0..largest)?;
            chart
                .configure_mesh()
                .x_desc("step")
                .y_desc("loss, nats")
                .draw()?;
            for (name, colour, line) in lines {
                // A line of one point is none.
                let dots = line
                    .iter()
                    .map(|point| Circle::new(*point, 2, colour.filled()));
                chart.draw_series(dots)?;
                let key = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour);
                chart
                    .draw_series(LineSeries::new(line, colour))?
                    .label(name)
                    .legend(key);
            }
            let mut labels = chart.configure_series_labels();
            labels
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK)
                .draw()?;
            area.present()?;
        }
        Ok(picture)
    }
}

impl CurveError {
    fn new(option: &'static str, file: &Path, source: impl Into<Box<dyn Error>>) -> Self {
        Self {
            option,
            file: file.to_path_buf(),
            source: source.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn point(step: usize) -> Progress {
        Progress {
            step,
            train_loss: (step > 1).then_some(0.5),
            validation_loss: 1.0 / step as f64,
            validation_accuracy: None,
            seconds: 0.25,
        }
    }

    #[test]
    fn a_curve_is_in_its_files_after_each_point() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let files = CurveArgs {
            csv: Some(folder.path().join("a.csv")),
            plot: Some(folder.path().join("a.svg")),
        };
        let read =
            |name: &str| fs::read_to_string(folder.path().join(name)).expect("it is written");
        let header = "step,train_loss,validation_loss,validation_accuracy,seconds\n";

        let mut curve = Curve::new(files).expect("the folder is there");
        assert_eq!(read("a.csv"), header);
        curve.add(point(1)).expect("the folder is there");
        assert_eq!(read("a.csv"), format!("{header}1,,1.0,,0.25\n"));
        let before = read("a.svg");
        assert!(before.contains("<circle"), "the first point is seen");
        curve.add(point(2)).expect("the folder is there");
        assert_eq!(
            read("a.csv"),
            format!("{header}1,,1.0,,0.25\n2,0.5,0.5,,0.25\n")
        );
        assert!(before.ends_with("</svg>\n") && before != read("a.svg"));
    }

    /// Breaks when the points of a run are lost as it continues, or when those after its checkpoint are kept.
    #[test]
    fn a_run_that_continues_keeps_its_points_up_to_there() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let files = CurveArgs {
            csv: Some(folder.path().join("a.csv")),
            plot: None,
        };
        Curve::of(files.clone(), vec![point(1), point(2), point(3)]).expect("it is written");
        let curve = Curve::resumed(files, 2).expect("it is a table of a curve");
        assert_eq!(curve.points, [point(1), point(2)]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_option() {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = folder.path().join("none/a");
        for [csv, plot] in [[true, false], [false, true]] {
            let files = CurveArgs {
                csv: csv.then(|| file.clone()),
                plot: plot.then(|| file.clone()),
            };
            let error = Curve::new(files).err().expect("there is no such folder");
            let option = if csv { "--csv" } else { "--plot" };
            let expected = format!("{option} {}: No such file", file.display());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        let other = folder.path().join("other.csv");
        fs::write(&other, "a,b\n1,2\n").expect("it can be written");
        let files = CurveArgs {
            csv: Some(other),
            plot: None,
        };
        assert!(Curve::resumed(files, 2).is_err());
    }
}
