//! Reads the access log named by its argument and prints what went wrong in it.
//!
//! A line is `TIME SEVERITY req=ID METHOD PATH STATUS DURATIONms SIZEB`. Lines of any other shape
//! are counted and skipped, so that a damaged log still gives a report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

const SLOWEST_SHOWN: usize = 5;
const PATHS_SHOWN: usize = 8;

/// One readable line of the log.
struct Request<'a> {
    line: usize,
    time: &'a str,
    severity: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: u32,
    size_bytes: u64,
}

/// What is kept of all requests of one route.
#[derive(Default)]
struct Route {
    requests: u32,
    failures: u32,
    total_ms: u64,
    total_bytes: u64,
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: loglens LOGFILE");
        return ExitCode::from(2);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            print!("{}", report(&path, &text));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("loglens: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(path: &str, text: &str) -> String {
    let lines = text.lines().count();
    let requests: Vec<Request<'_>> = text.lines().enumerate().filter_map(|(i, line)| parse(i + 1, line)).collect();
    let mut out = format!("{path}: {} lines, {} bytes\n", grouped(lines as u64), grouped(text.len() as u64));
    if let (Some(first), Some(last)) = (requests.first(), requests.last()) {
        let _ = writeln!(out, "from {} to {}", first.time, last.time);
    }
    severities(&mut out, &requests, lines);
    slowest(&mut out, &requests);
    routes(&mut out, &requests);
    out
}

/// Reads one line; `None` if it has not the shape of a request.
fn parse(line: usize, text: &str) -> Option<Request<'_>> {
    let mut words = text.split_ascii_whitespace();
    let (time, severity) = (words.next()?, words.next()?);
    words.next()?.strip_prefix("req=")?;
    let (method, path) = (words.next()?, words.next()?);
    let status = words.next()?.parse().ok()?;
    let duration_ms = words.next()?.strip_suffix("ms")?.parse().ok()?;
    let size_bytes = words.next()?.strip_suffix('B')?.parse().ok()?;
    words.next().is_none().then_some(Request { line, time, severity, method, path, status, duration_ms, size_bytes })
}

fn severities(out: &mut String, requests: &[Request<'_>], lines: usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests {
        *counts.entry(request.severity).or_default() += 1;
    }
    if requests.len() < lines {
        counts.insert("unreadable", lines - requests.len());
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let _ = writeln!(out, "\nseverity       lines    share");
    for (severity, count) in counts {
        let share = 100.0 * count as f64 / lines as f64;
        let _ = writeln!(out, "{severity:<12} {:>7} {share:>7.1}%", grouped(count as u64));
    }
}

fn slowest(out: &mut String, requests: &[Request<'_>]) {
    let mut order: Vec<&Request<'_>> = requests.iter().collect();
    order.sort_by_key(|request| (u32::MAX - request.duration_ms, request.line));
    let _ = writeln!(out, "\nslowest requests");
    for request in order.iter().take(SLOWEST_SHOWN) {
        let duration = grouped(request.duration_ms.into());
        let Request { method, path, status, line, .. } = request;
        let _ = writeln!(out, "{duration:>9} ms  {status}  {method:<6} {path}  (line {line})");
    }
}

fn routes(out: &mut String, requests: &[Request<'_>]) {
    let mut routes: BTreeMap<String, Route> = BTreeMap::new();
    for request in requests {
        let route = routes.entry(route_of(request.path)).or_default();
        route.requests += 1;
        route.failures += u32::from(request.status >= 500);
        route.total_ms += u64::from(request.duration_ms);
        route.total_bytes += request.size_bytes;
    }
    let mut order: Vec<_> = routes.into_iter().collect();
    order.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then(a.0.cmp(&b.0)));
    let _ = writeln!(out, "\ntop paths                  requests  failed   mean ms       bytes");
    for (path, route) in order.iter().take(PATHS_SHOWN) {
        let mean = route.total_ms as f64 / f64::from(route.requests);
        let (requests, failures) = (grouped(route.requests.into()), route.failures);
        let _ = writeln!(out, "{path:<26} {requests:>8} {failures:>7} {mean:>9.1} {:>11}", grouped(route.total_bytes));
    }
}

/// The path without its query, with numbers replaced, so that `/orders/7` and `/orders/8` meet.
fn route_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    let parts = path.split('/').map(|part| match part.parse::<u64>() {
        Ok(_) => ":id",
        Err(_) => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
