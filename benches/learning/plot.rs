use crate::table::Row;
use mac_burn_examples::training::Progress;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// Width and height of the picture, in pixels.
const SIZE: (u32, u32) = (960, 400);

/// Colours that people with any colour vision tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
];

/// Draws the validation loss of each optimizer against steps and against seconds: the median over the seeds, and the
/// range of all of them as a band.
pub(crate) fn plot(title: &str, rows: &[Row], file: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    draw(&left, title, "step", rows, |seen| seen.step as f64)?;
    draw(&right, title, "seconds", rows, |seen| seen.seconds)?;
    area.present()?;
    Ok(())
}

/// The loss of all seeds at one step: lowest, median and highest, at the mean of their places on the axis.
struct Point {
    x: f64,
    lowest: f64,
    median: f64,
    highest: f64,
}

fn points(row: &Row, x: impl Fn(&Progress) -> f64) -> Vec<Point> {
    // A run that diverged is shorter; the others go on without it.
    let length = row.outcomes.iter().map(|run| run.0.len()).max();
    let at = |index: usize| {
        let runs = row.outcomes.iter();
        let mut seen: Vec<&Progress> = runs.filter_map(|run| run.0.get(index)).collect();
        seen.retain(|seen| seen.validation_loss.is_finite());
        let mut losses: Vec<f64> = seen.iter().map(|seen| seen.validation_loss).collect();
        losses.sort_by(f64::total_cmp);
        let middle = losses.len() / 2;
        Some(Point {
            x: seen.iter().map(|seen| x(seen)).sum::<f64>() / seen.len() as f64,
            lowest: *losses.first()?,
            median: match losses.len().is_multiple_of(2) {
                true => (losses[middle - 1] + losses[middle]) / 2.0,
                false => losses[middle],
            },
            highest: *losses.last()?,
        })
    };
    (0..length.unwrap_or(0)).filter_map(at).collect()
}

fn draw<D: DrawingBackend>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    title: &str,
    axis: &str,
    rows: &[Row],
    x: impl Fn(&Progress) -> f64,
) -> Result<(), Box<dyn Error>>
where
    D::ErrorType: 'static,
{
    let lines: Vec<(String, Vec<Point>)> = rows
        .iter()
        .map(|row| (format!("{}, lr {}", row.optimizer, row.lr), points(row, &x)))
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let last = all().map(|point| point.x).fold(0.0, f64::max);
    let largest = all().map(|point| point.highest).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..last, 0.0..largest)?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc(axis).y_desc("validation loss, nats").draw()?;
    for ((name, points), colour) in lines.into_iter().zip(COLOURS.into_iter().cycle()) {
        let above = points.iter().map(|point| (point.x, point.highest));
        let below = points.iter().rev().map(|point| (point.x, point.lowest));
        let band: Vec<(f64, f64)> = above.chain(below).collect();
        chart.draw_series([Polygon::new(band, colour.mix(0.15))])?;
        let medians = points.iter().map(|point| (point.x, point.median));
        chart
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        // The losses fall: nothing is there but the best of them.
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
