//! A comparison as pictures: SVG.

use std::ops::Range;

use plotters::prelude::*;

use super::compare::{Cell, Comparison};

/// Beyond this many times the baseline a point is left out: it would squeeze all others together.
const FAR: f64 = 2.0;
const SIZE: (u32, u32) = (820, 460);

/// A picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw: {0}")]
pub struct PlotError(String);

/// A contender's mean latency by the baseline's, with both ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    mean: f64,
    low: f64,
    high: f64,
}

impl Point {
    fn of(cell: &Cell) -> Self {
        let (mean, half) = (1.0 + cell.mean_change.mean, cell.mean_change.half);
        let half = if half.is_finite() { half } else { 0.0 };
        Self { mean, low: mean - half, high: mean + half }
    }
}

/// The picture of the cases with this name: mean latency by the baseline's, over the load if there are several loads,
/// else one row for each contender.
pub fn svg(comparison: &Comparison, name: &str) -> Result<String, PlotError> {
    let cases: Vec<(f64, &Vec<Cell>)> = comparison
        .cases
        .iter()
        .zip(&comparison.cells)
        .filter(|(case, _)| case.name == name)
        .map(|(case, cells)| (case.load.unwrap_or(0.0), cells))
        .collect();
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    let drawn = match &cases[..] {
        [(_, cells)] => rows(&area, comparison, name, cells),
        _ => lines(&area, comparison, name, &cases),
    };
    drawn.and_then(|()| area.present()).map_err(|error| PlotError(error.to_string()))?;
    drop(area);
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn title(comparison: &Comparison, name: &str) -> String {
    format!("{name}: mean latency by that of {}", comparison.contenders[comparison.baseline])
}

/// What holds all points that are not far off, and some space.
fn range(points: impl Iterator<Item = Point>) -> Range<f64> {
    let near = points.filter(|point| point.mean < FAR);
    let (low, high) =
        near.fold((1.0_f64, 1.0_f64), |(low, high), point| (low.min(point.low), high.max(point.high)));
    let space = 0.05 * (high - low).max(0.1);
    low - space..high + space
}

fn lines<'a>(area: &Area<'a>, comparison: &Comparison, name: &str, cases: &[(f64, &Vec<Cell>)]) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let loads = cases.iter().map(|&(load, _)| load);
    let (least, most) = loads.fold((f64::MAX, f64::MIN), |(low, high), load| (low.min(load), high.max(load)));
    let all = cases.iter().flat_map(|(_, cells)| cells.iter().map(Point::of));
    let mut chart = ChartBuilder::on(area)
        .caption(title(comparison, name), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(least - 0.02..most + 0.02, range(all))?;
    chart.configure_mesh().x_desc("load").light_line_style(TRANSPARENT).draw()?;
    for (at, contender) in comparison.contenders.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let near = cases.iter().map(|&(load, cells)| (load, Point::of(&cells[at])));
        let near: Vec<_> = near.filter(|(_, point)| point.mean < FAR).collect();
        chart
            .draw_series(LineSeries::new(near.iter().map(|&(load, point)| (load, point.mean)), color))?
            .label(contender.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
        chart.draw_series(
            near.iter()
                .map(|&(load, point)| PathElement::new([(load, point.low), (load, point.high)], color)),
        )?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3)).draw()
}

fn rows<'a>(area: &Area<'a>, comparison: &Comparison, name: &str, cells: &[Cell]) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let count = comparison.contenders.len();
    let label = |row: &f64| {
        let at = count as f64 - row;
        let is_row = at.fract() == 0.0 && at >= 0.0 && at < count as f64;
        if is_row { comparison.contenders[at as usize].name().to_owned() } else { String::new() }
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title(comparison, name), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(110)
        .build_cartesian_2d(range(cells.iter().map(Point::of)), 0.5..count as f64 + 0.5)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).y_labels(count + 1).y_label_formatter(&label).draw()?;
    for (at, cell) in cells.iter().enumerate() {
        let (row, point, color) = ((count - at) as f64, Point::of(cell), Palette99::pick(at).to_rgba());
        if point.mean < FAR {
            chart.draw_series([PathElement::new(
                [(point.low, row), (point.high, row)],
                color.stroke_width(2),
            )])?;
            chart.draw_series([Circle::new((point.mean, row), 4, color.filled())])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{evaluate::compare::Case, scenario::Scenario};

    #[test]
    fn pictures_name_every_contender() {
        let scenario = "load = 0.5\nflows = 300\nservice = \"1ms\"\n[[server]]\ncount = 2";
        let scenario = Scenario::parse(scenario).unwrap();
        for loads in [&[][..], &[0.4, 0.8]] {
            let contenders = ["sed", "ecmp", "oracle"].map(|name| name.parse().unwrap());
            let cases = Case::each("tiny", &scenario, loads);
            let comparison = Comparison::make(cases, contenders.into(), 0, 2, 1, &|| {});
            let svg = svg(&comparison, "tiny").unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            for words in ["sed", "ecmp", "oracle", "tiny: mean latency by that of sed"] {
                assert!(svg.contains(words), "{words} {loads:?}");
            }
        }
    }

    #[test]
    fn far_points_do_not_squeeze_the_others() {
        let point = |mean| Point { mean, low: mean - 0.1, high: mean + 0.1 };
        let range = range([point(0.8), point(1.3), point(40.0)].into_iter());
        assert!(range.start < 0.7 && range.start > 0.6 && range.end > 1.4 && range.end < 1.5, "{range:?}");
    }
}
