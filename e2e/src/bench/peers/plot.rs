//! The figures as bars: a panel a job, a bar a system.

use std::fmt::Write as _;

use super::{figures::Best, jobs::Kind, systems::System};

/// Pixels.
const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
const LABELS: f64 = 170.0;
const VALUES: f64 = 90.0;
const BAR: f64 = 18.0;
const ROW: f64 = 24.0;
const TITLE: f64 = 34.0;
/// The bars of rates begin here: they differ by powers of ten.
const RATE_FLOOR: f64 = 100.0;

const SYSTEMS: [System; 6] =
    [System::Batch, System::ProcessDistro, System::Pool, System::Xargs, System::Ray, System::Dask];

/// One drawing of all jobs that have figures.
pub(super) fn svg(best: &Best) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for kind in [Kind::Trivial, Kind::Mandelbrot, Kind::Sha256, Kind::Heavy] {
        let Some(figures) = best.get(kind.name()) else { continue };
        let bars: Vec<(System, f64)> =
            SYSTEMS.iter().filter_map(|system| Some((*system, *figures.get(system.name())?))).collect();
        top = panel(&mut body, top, kind, &bars);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws a panel and answers where the next begins.
fn panel(body: &mut String, top: f64, kind: Kind, bars: &[(System, f64)]) -> f64 {
    let title = match kind {
        Kind::Trivial => "Trivial subtasks a second, two slots (logarithmic; more is better)",
        Kind::Mandelbrot => "Mandelbrot: efficiency, the kernel's time on one thread ÷ (wall time × 2) (1 is ideal)",
        Kind::Sha256 => "SHA-256 audit: efficiency, the kernel's time on one thread ÷ (wall time × 2) (1 is ideal)",
        Kind::Heavy => "Heavy-tailed subtasks: makespan over its lower bound (1 is ideal, less is better)",
    };
    let _ = writeln!(body, "<text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + BAR);
    let room = WIDTH - 2.0 * MARGIN - LABELS - VALUES;
    let longest = bars.iter().map(|(_, figure)| scaled(kind, *figure)).fold(f64::MIN_POSITIVE, f64::max);
    let full = if kind == Kind::Trivial { longest } else { longest.max(1.0) };
    let mut y = top + TITLE;
    for (system, figure) in bars {
        let (length, colour) = (room * scaled(kind, *figure) / full, colour(*system));
        let (left, middle) = (MARGIN + LABELS, y + BAR - 4.0);
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{middle}\">{}</text>",
            left - 8.0,
            system.name().replace('\'', "&#8217;"),
            left + length + 6.0,
            shown(kind, *figure),
        );
        y += ROW;
    }
    if kind != Kind::Trivial {
        let ideal = MARGIN + LABELS + room / full;
        let (from, to) = (top + TITLE - 4.0, y);
        let _ = writeln!(
            body,
            "<line x1=\"{ideal:.1}\" x2=\"{ideal:.1}\" y1=\"{from}\" y2=\"{to}\" stroke=\"#333333\" stroke-dasharray=\"3 3\"/>"
        );
    }
    y + MARGIN
}

/// What a bar's length is in proportion to.
fn scaled(kind: Kind, figure: f64) -> f64 {
    if kind == Kind::Trivial { (figure / RATE_FLOOR).log10().max(0.0) } else { figure }
}

fn shown(kind: Kind, figure: f64) -> String {
    if kind != Kind::Trivial {
        return format!("{figure:.2}");
    }
    // Two digits are what such a measurement is good for.
    let unit = 10_f64.powf(figure.log10().floor() - 1.0);
    let digits = ((figure / unit).round() * unit).round().to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

const fn colour(system: System) -> &'static str {
    match system {
        System::ProcessDistro | System::Batch => "#1f77b4",
        System::Pool | System::Xargs => "#b0b0b0",
        System::Ray | System::Dask => "#e08a3c",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_has_a_bar_for_each_system_that_was_measured() {
        let bars = [("ProcessDistro".to_owned(), 0.97), ("Ray".to_owned(), 0.5)].into();
        let drawn = svg(&[("Mandelbrot".to_owned(), bars)].into());
        assert_eq!(drawn.matches("<rect x=").count(), 2);
        assert!(drawn.contains(">0.97<") && drawn.contains(">Ray<") && !drawn.contains("Trivial"), "{drawn}");
    }

    #[test]
    fn rates_are_shown_with_two_digits() {
        assert_eq!(shown(Kind::Trivial, 1_234_567.0), "1,200,000");
        assert_eq!(shown(Kind::Trivial, 99_700.0), "100,000");
        assert_eq!(shown(Kind::Trivial, 583.0), "580");
    }
}
