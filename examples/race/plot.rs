//! The pictures.

use std::error::Error;
use std::path::Path;

use clap::ValueEnum;
use mac_burn_examples::optimizers::OptimizerChoice;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::standings::{Race, Standing};
use crate::statistics::median;
use crate::trial::RATE_FACTORS;

/// Width and height of a chart, in pixels.
const SIZE: (u32, u32) = (540, 440);

/// The width of the legend beside the charts, in pixels.
const LEGEND: u32 = 260;

/// Colours that people with any colour vision tell apart (Okabe and Ito), and grey, brown, purple and yellow for more optimizers than
/// these.
const COLOURS: [RGBColor; 11] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(130, 130, 130),
    RGBColor(120, 70, 20),
    RGBColor(120, 60, 180),
    RGBColor(220, 200, 40),
];

/// A line, with the range of what it is the middle of.
struct Line {
    name: String,
    colour: RGBColor,
    /// Where, and lowest, middle and highest.
    points: Vec<(f64, [f64; 3])>,
}

/// Draws the test loss of each optimizer against steps and against seconds, the median and the range of all seeds, and the
/// validation loss of its trials, if there are any, against the learning rate, into files of a folder; and what other learning rates
/// do to the best settings, if that was run.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn draw(race: &Race, folder: &Path) -> Result<(), Box<dyn Error>> {
    let name = race.file_name();
    let file = folder.join(format!("{name}-loss.svg"));
    let area = SVGBackend::new(&file, (2 * SIZE.0 + LEGEND, SIZE.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0);
    let (right, beside) = right.split_horizontally(SIZE.0);
    let lines = |x: fn(&(usize, f64, f64)) -> f64| -> Vec<Line> {
        let standings = race.standings.iter();
        standings.map(|standing| curve(standing, x)).collect()
    };
    let (title, loss) = (race.title(), format!("test {}", race.task.loss()));
    let (steps, seconds) = (
        lines(|(step, ..)| *step as f64),
        lines(|(.., seconds)| *seconds),
    );
    let last = |lines: &[Line]| x_range(lines)[1];
    chart(
        &left,
        &title,
        "step",
        &loss,
        0.0..last(&steps),
        top(&steps),
        &steps,
    )?;
    let range = 0.0..last(&seconds);
    chart(
        &right,
        &title,
        "seconds",
        &loss,
        range,
        top(&seconds),
        &seconds,
    )?;
    legend(&beside, &seconds)?;
    area.present()?;

    let trials = race.standings.iter().map(trials_at_rates);
    draw_rates(race, &folder.join(format!("{name}-rates.svg")), trials)?;
    let best = race.standings.iter().map(best_at_rates);
    draw_rates(race, &folder.join(format!("{name}-sensitivity.svg")), best)
}

/// Draws the validation loss against the learning rate into a file, if there are any.
fn draw_rates(
    race: &Race,
    file: &Path,
    lines: impl Iterator<Item = Line>,
) -> Result<(), Box<dyn Error>> {
    let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let area = SVGBackend::new(file, (SIZE.0 + LEGEND, SIZE.1)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, beside) = area.split_horizontally(SIZE.0);
    let [least, largest] = x_range(&lines);
    let range = (least / 1.5..largest * 1.5).log_scale();
    let (title, loss) = (race.title(), format!("validation {}", race.task.loss()));
    // What is far above the best of each says no more than that the rate is too large.
    let best = lines.iter().map(|line| {
        let losses = line.points.iter().map(|(_, [loss, ..])| *loss);
        losses.fold(f64::INFINITY, f64::min)
    });
    let top = 1.5 * best.filter(|best| best.is_finite()).fold(0.1, f64::max);
    chart(&left, &title, "learning rate", &loss, range, top, &lines)?;
    legend(&beside, &lines)?;
    area.present()?;
    Ok(())
}

/// The losses of an optimizer on the test part.
fn curve(standing: &Standing, x: fn(&(usize, f64, f64)) -> f64) -> Line {
    let runs = || standing.tests.iter().map(|run| &run.outcome.losses);
    let length = runs().map(Vec::len).max().unwrap_or(0);
    let point = |place: usize| {
        let seen = runs().map(|losses| losses.get(place));
        let places: Vec<f64> = seen.clone().flatten().map(x).collect();
        // A run that diverged is shorter, and above all others from there.
        let losses = seen.map(|seen| seen.map_or(f64::INFINITY, |seen| seen.1));
        let losses: Vec<f64> = losses.collect();
        let [least, largest] = ends(&losses);
        (median(&places), [least, median(&losses), largest])
    };
    Line {
        name: standing.optimizer.to_string(),
        colour: colour_of(standing.optimizer),
        points: (0..length).map(point).collect(),
    }
}

/// The smallest loss of an optimizer's trials at each learning rate, whatever its other settings.
fn trials_at_rates(standing: &Standing) -> Line {
    let mut points: Vec<(f64, [f64; 3])> = Vec::new();
    for run in &standing.tuning {
        let Some(loss) = run.outcome.loss else {
            continue;
        };
        match points.iter_mut().find(|(lr, _)| *lr == run.trial.lr) {
            Some((_, losses)) => *losses = losses.map(|least| least.min(loss)),
            None => points.push((run.trial.lr, [loss; 3])),
        }
    }
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    Line {
        name: standing.optimizer.to_string(),
        colour: colour_of(standing.optimizer),
        points,
    }
}

/// The losses of an optimizer's best settings with other learning rates.
fn best_at_rates(standing: &Standing) -> Line {
    let points = standing.at_rates.iter().zip(RATE_FACTORS);
    let points = points.map(|(losses, factor)| {
        let [least, largest] = ends(losses);
        (factor * standing.best.lr, [least, median(losses), largest])
    });
    Line {
        name: standing.optimizer.to_string(),
        colour: colour_of(standing.optimizer),
        points: points.collect(),
    }
}

/// The colour of an optimizer, which it has in all pictures.
fn colour_of(optimizer: OptimizerChoice) -> RGBColor {
    let mut all = OptimizerChoice::value_variants().iter();
    let place = all.position(|choice| *choice == optimizer);
    COLOURS[place.unwrap_or(0) % COLOURS.len()]
}

fn ends(values: &[f64]) -> [f64; 2] {
    let ends = [f64::min, f64::max];
    ends.map(|end| values.iter().copied().reduce(end).unwrap_or(f64::NAN))
}

fn x_range(lines: &[Line]) -> [f64; 2] {
    let places = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
    let [least, largest] = ends(&places.collect::<Vec<_>>());
    match least.is_finite() && largest > 0.0 {
        true => [least, largest],
        false => [1e-3, 1.0],
    }
}

/// Where losses end in a chart: a little above the largest loss of the middles but for each line's first third, which would hide
/// the differences between the others.
fn top(lines: &[Line]) -> f64 {
    let later = lines
        .iter()
        .flat_map(|line| &line.points[line.points.len() / 3..]);
    let losses = later.map(|(_, [_, middle, _])| *middle);
    let losses: Vec<f64> = losses.filter(|loss| loss.is_finite()).collect();
    let [_, largest] = ends(&losses);
    if largest > 0.0 { 1.1 * largest } else { 1.0 }
}

fn chart<D, X>(
    area: &DrawingArea<D, Shift>,
    title: &str,
    x: &str,
    y: &str,
    range: X,
    top: f64,
    lines: &[Line],
) -> Result<(), Box<dyn Error>>
where
    D: DrawingBackend,
    D::ErrorType: 'static,
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let bottom = lines.iter().flat_map(|line| &line.points);
    let bottom = bottom.map(|(_, [least, ..])| *least).fold(top, f64::min);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(range, 0.9 * bottom..top)?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc(x).y_desc(y).draw()?;
    for Line { colour, points, .. } in lines {
        let colour = *colour;
        let shown = |loss: f64| loss.min(top);
        let above = points
            .iter()
            .map(|(x, [_, _, highest])| (*x, shown(*highest)));
        let below = points
            .iter()
            .rev()
            .map(|(x, [least, ..])| (*x, shown(*least)));
        let band: Vec<(f64, f64)> = above.chain(below).collect();
        chart.draw_series([Polygon::new(band, colour.mix(0.12))])?;
        let middles = points
            .iter()
            .map(|(x, [_, middle, _])| (*x, shown(*middle)));
        chart.draw_series(LineSeries::new(middles.clone(), colour.stroke_width(2)))?;
        chart.draw_series(middles.map(|point| Circle::new(point, 2, colour.filled())))?;
    }
    Ok(())
}

/// The names of the lines, beside the charts, since in them it would cover some.
fn legend<D>(area: &DrawingArea<D, Shift>, lines: &[Line]) -> Result<(), Box<dyn Error>>
where
    D: DrawingBackend,
    D::ErrorType: 'static,
{
    for (line, y) in lines.iter().zip((40..).step_by(20)) {
        let stroke = line.colour.stroke_width(2);
        area.draw(&PathElement::new([(5, y), (25, y)], stroke))?;
        area.draw(&Text::new(
            line.name.as_str(),
            (32, y - 6),
            ("sans-serif", 13),
        ))?;
    }
    Ok(())
}
