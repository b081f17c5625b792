//! The page: one file with its own style and plots drawn as SVG by hand. Nothing is loaded from anywhere.

use std::fmt::Write as _;

use aura_benches::{Outcome, machine};

use super::curve::{self, Curve};
use super::engines::ColdEngine;
use super::guests::Guest;
use super::measure::{Cell, Table, Unit};
use super::report::{RULES, quantity};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}\
h1,h2,h3{line-height:1.2}table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{border:1px solid #ccc;\
padding:.2em .5em;text-align:right}td:first-child,th:first-child{text-align:left}svg{background:#fafafa;border:1px solid #ddd}\
svg text{font:12px system-ui,sans-serif;fill:#333}.dim{color:#777}";

/// Colours by the engine's family, dark to light by mode.
const COLOURS: &[(&str, &[&str])] = &[
    ("aura", &["#0b6e4f", "#14a76c", "#4fc08d", "#8fd9b6", "#c1ead7"]),
    ("wasmtime", &["#5b2a86", "#8e5bbf", "#b991dd", "#d9c2ef"]),
    ("wasmi", &["#b5521b", "#e07a3f", "#f0a97c"]),
    ("wasmparser", &["#555555"]),
];

fn colour(engines: &[&str], name: &str) -> &'static str {
    let family = name.split(' ').next().unwrap_or_default();
    let place = engines.iter().filter(|e| e.split(' ').next() == Some(family)).position(|e| *e == name).unwrap_or(0);
    let shades = COLOURS.iter().find(|(known, _)| *known == family).map_or(COLOURS[0].1, |(_, shades)| shades);
    shades[place.min(shades.len() - 1)]
}

/// The whole page.
pub(crate) fn page(
    engines: &[Box<dyn ColdEngine>],
    guests: &[Guest],
    tables: &[Table],
    curves: &[Curve],
) -> Outcome<String> {
    let names: Vec<&str> = engines.iter().map(|engine| engine.name()).collect();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Aura: cold start</title>\
         <style>{STYLE}</style></head><body>\n<h1>Cold start: Aura, Wasmtime, wasmi</h1>\n"
    );
    rows(
        &mut out,
        &[],
        &machine::facts()?.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>(),
    );
    out.push_str("<h2>Rules</h2><ul>");
    RULES.iter().for_each(|rule| out.push_str(&format!("<li>{}</li>", escape(rule))));
    out.push_str("</ul>\n<h2>Engines</h2>");
    let modes: Vec<_> = engines.iter().map(|e| vec![e.name().to_owned(), e.mode().to_owned()]).collect();
    rows(&mut out, &["engine", "mode"], &modes);
    out.push_str("<h2>Guests</h2>");
    let sizes: Vec<_> = guests.iter().map(|g| vec![g.name.clone(), g.wasm.len().to_string()]).collect();
    rows(&mut out, &["guest", "bytes"], &sizes);
    let _ = write!(out, "<h2>Work done over time</h2><p>A unit of work is {}.</p>", escape(curve::WORK));
    work_over_time(&mut out, &names, curves);
    for table in tables {
        section(&mut out, &names, table);
    }
    out.push_str("</body></html>\n");
    Ok(out)
}

fn section(out: &mut String, names: &[&str], table: &Table) {
    let _ = write!(out, "<h2>{}</h2><p>{}</p>", escape(table.title), escape(table.what));
    for (index, guest) in table.guests.iter().enumerate() {
        let cells: Vec<_> = table.rows.iter().map(|(engine, cells)| (*engine, &cells[index])).collect();
        bars(out, names, guest, &cells, table.unit);
    }
    let heads: Vec<&str> = std::iter::once("engine").chain(table.guests.iter().map(String::as_str)).collect();
    let body: Vec<Vec<String>> = table.rows.iter().map(|(engine, cells)| row(engine, cells, table.unit)).collect();
    rows(out, &heads, &body);
}

fn row(engine: &str, cells: &[Cell], unit: Unit) -> Vec<String> {
    let show = |cell: &Cell| match cell {
        Cell::Measured(s) => {
            format!("{} ({} to {})", quantity(s.median, unit), quantity(s.low, unit), quantity(s.high, unit))
        }
        Cell::Not(why) => why.clone(),
    };
    std::iter::once(engine.to_owned()).chain(cells.iter().map(show)).collect()
}

fn rows(out: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    out.push_str("<table>");
    if !heads.is_empty() {
        out.push_str("<tr>");
        heads.iter().for_each(|head| out.push_str(&format!("<th>{}</th>", escape(head))));
        out.push_str("</tr>");
    }
    for row in rows {
        out.push_str("<tr>");
        row.iter().for_each(|cell| out.push_str(&format!("<td>{}</td>", escape(cell))));
        out.push_str("</tr>");
    }
    out.push_str("</table>\n");
}

/// Medians as bars on a logarithmic axis, the quartiles as a line on each.
fn bars(out: &mut String, names: &[&str], title: &str, cells: &[(&str, &Cell)], unit: Unit) {
    let measured = cells.iter().filter_map(|(name, cell)| match cell {
        Cell::Measured(summary) => Some((*name, summary)),
        Cell::Not(_) => None,
    });
    let measured: Vec<_> = measured.collect();
    let Some(least) = measured.iter().map(|(_, s)| s.low).reduce(f64::min) else { return };
    let most = measured.iter().map(|(_, s)| s.high).fold(least, f64::max);
    let axis = Axis { from: least / 2.0, to: most * 1.5, start: 170.0, end: 880.0 };
    let height = 30 + 22 * measured.len();
    let _ = write!(out, "<h3>{}</h3><svg width=\"1000\" height=\"{height}\" role=\"img\">", escape(title));
    for decade in axis.decades() {
        let x = axis.place(decade);
        let _ = write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            height - 18,
            x + 2.0,
            height - 5,
            quantity(decade, unit)
        );
    }
    for (index, (name, s)) in measured.iter().enumerate() {
        let (y, end) = (4 + 22 * index, axis.place(s.median));
        let _ = write!(
            out,
            "<text x=\"4\" y=\"{}\">{}</text><rect x=\"{}\" y=\"{y}\" width=\"{:.1}\" height=\"16\" fill=\"{}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{m}\" y2=\"{m}\" stroke=\"#000\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 13,
            escape(name),
            axis.start,
            end - axis.start,
            colour(names, name),
            axis.place(s.low),
            axis.place(s.high),
            end + 6.0,
            y + 13,
            quantity(s.median, unit),
            m = y + 8
        );
    }
    out.push_str("</svg>\n");
}

/// A logarithmic axis.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let share = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        self.start + share * (self.end - self.start)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        let (first, last) = (self.from.log10().ceil() as i32, self.to.log10().floor() as i32);
        (first..=last).map(|exponent| 10_f64.powi(exponent))
    }
}

fn work_over_time(out: &mut String, names: &[&str], curves: &[Curve]) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (time, work) = (bounds(|p| p.0), bounds(|p| p.1));
    let x = Axis { from: time.0, to: time.1, start: 60.0, end: 820.0 };
    let y = Axis { from: work.0, to: work.1 * 1.2, start: 470.0, end: 10.0 };
    out.push_str("<svg width=\"1000\" height=\"500\" role=\"img\">");
    for decade in x.decades() {
        let place = x.place(decade);
        let _ = write!(
            out,
            "<line x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"10\" y2=\"470\" stroke=\"#ddd\"/><text x=\"{place:.1}\" y=\"488\">{}</text>",
            machine::time(decade * 1e9)
        );
    }
    for decade in y.decades() {
        let place = y.place(decade);
        let _ = write!(
            out,
            "<line x1=\"60\" x2=\"820\" y1=\"{place:.1}\" y2=\"{place:.1}\" stroke=\"#ddd\"/><text x=\"4\" y=\"{:.1}\">{decade}</text>",
            place + 4.0
        );
    }
    for (index, curve) in curves.iter().enumerate() {
        let line: Vec<_> =
            curve.points.iter().map(|(at, done)| format!("{:.1},{:.1}", x.place(*at), y.place(*done))).collect();
        let colour = colour(names, curve.engine);
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\
             <rect x=\"835\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"852\" y=\"{}\">{}</text>",
            line.join(" "),
            20 + 20 * index,
            31 + 20 * index,
            escape(curve.engine)
        );
    }
    out.push_str("</svg>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
