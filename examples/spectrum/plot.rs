//! The picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::Measured;

/// Width and height of the chart of a measurement, in pixels.
const SIZE: (u32, u32) = (420, 420);

/// The smallest share of an eigenvalue that is drawn.
const LEAST: f64 = 1e-6;

/// Draws the eigenvalues of each layer's inputs, as shares of their sum, against their place, both in logarithmic scale: a chart for each
/// measurement, and in it a line for each layer, from the first (blue) to the last (orange).
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn draw(title: &str, measured: &[Measured], file: &Path) -> Result<(), Box<dyn Error>> {
    let width = SIZE.0 * measured.len().max(1) as u32;
    let area = SVGBackend::new(file, (width, SIZE.1)).into_drawing_area();
    area.fill(&WHITE)?;
    for (area, Measured { step, spectrum, .. }) in area
        .split_evenly((1, measured.len().max(1)))
        .iter()
        .zip(measured)
    {
        let sizes = spectrum.layers.iter().map(|layer| layer.size);
        let largest = sizes.max().unwrap_or(1).max(2) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{title}, after {step} steps"), ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((1.0..largest).log_scale(), (LEAST..1.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("eigenvalue")
            .y_desc("share of the sum")
            .draw()?;
        let layers = spectrum.layers.len().max(2) as f64;
        for (index, layer) in spectrum.layers.iter().enumerate() {
            let sum: f64 = layer.eigenvalues.iter().sum();
            let shares = layer.eigenvalues.iter().enumerate();
            let shares =
                shares.map(|(place, value)| (place as f64 + 1.0, (value / sum).max(LEAST)));
            let shade = index as f64 / (layers - 1.0);
            let [red, green, blue] = [230.0 * shade, 60.0 + 110.0 * shade, 170.0 - 150.0 * shade];
            let colour = RGBColor(red as u8, green as u8, blue as u8);
            chart.draw_series(LineSeries::new(shares, colour.stroke_width(1)))?;
        }
    }
    area.present()?;
    Ok(())
}
