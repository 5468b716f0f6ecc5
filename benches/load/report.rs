//! What was measured: kept as samples, shown as one table, written as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ways::{BROKER, COPY, DIRECT, RELAY};

/// How a row's ways are set beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Beside {
    Ratio,
    /// What is added to the direct way.
    Difference,
    Nothing,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) beside: Beside,
    /// By way, one for each round.
    pub(crate) samples: BTreeMap<String, Vec<f64>>,
    /// By way, why there is no figure.
    pub(crate) notes: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) origin: String,
    /// In the order of the columns.
    pub(crate) ways: Vec<String>,
    /// By way, why there is none.
    pub(crate) absent: BTreeMap<String, String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) curves: Vec<Curve>,
}

/// The cost of a request as one thing grows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) of: String,
    pub(crate) unit: String,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) size: usize,
    pub(crate) samples: Vec<f64>,
}

impl Report {
    pub(crate) fn row(&mut self, name: &str, unit: &str, beside: Beside) -> &mut Row {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                unit: unit.to_owned(),
                beside,
                samples: BTreeMap::new(),
                notes: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// What could not be measured on these ways, and why.
    pub(crate) fn failures(&self, ways: &[&str]) -> Vec<String> {
        let notes = self.rows.iter().flat_map(|row| row.notes.iter().map(move |(way, why)| (row, way, why)));
        let ours = notes.filter(|(_, way, _)| ways.contains(&way.as_str()));
        ours.map(|(row, way, why)| format!("{}, {way}: {why}", row.name)).collect()
    }

    /// Both tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        let head: Vec<String> = self.ways.iter().map(|way| heading(way)).collect();
        text.push_str(&format!("| | {} |\n|---|{}\n", head.join(" | "), "---:|".repeat(head.len())));
        for row in &self.rows {
            let cells: Vec<String> = self.ways.iter().map(|way| self.cell(row, way)).collect();
            text.push_str(&format!("| {}, {} | {} |\n", row.name, row.unit, cells.join(" | ")));
        }
        for (way, why) in &self.absent {
            text.push_str(&format!("\n{way}: {why}\n"));
        }
        if !self.curves.is_empty() {
            text.push_str("\n| cost of a request as … grows | | |\n|---|---|---|\n");
        }
        for curve in &self.curves {
            let first = curve.points.first().map_or(f64::NAN, |point| median(&point.samples));
            let points = curve.points.iter().map(|point| {
                let (middle, low, high) = spread(&point.samples);
                format!("{}: {} ({}–{})", grouped(point.size), short(middle), short(low), short(high))
            });
            let last = curve.points.last().map_or(f64::NAN, |point| median(&point.samples));
            let points = points.collect::<Vec<_>>().join(", ");
            text.push_str(&format!(
                "| {}, {} | {points} | {}× |\n",
                curve.of,
                curve.unit,
                short(last / first)
            ));
        }
        text
    }

    fn cell(&self, row: &Row, way: &str) -> String {
        let Some(own) = row.samples.get(way).filter(|samples| !samples.is_empty()) else {
            let is_known = self.absent.contains_key(way);
            return row
                .notes
                .get(way)
                .cloned()
                .unwrap_or_else(|| if is_known { "absent" } else { "–" }.to_owned());
        };
        let value = short(median(own));
        // Ours beside the direct way, a peer beside ours.
        let (over, under) = match way {
            DIRECT => return value,
            COPY | BROKER | RELAY => (way, DIRECT),
            _ => (BROKER, way),
        };
        let (Some(over), Some(under)) = (row.samples.get(over), row.samples.get(under)) else { return value };
        let pairs = over.iter().zip(under);
        match row.beside {
            Beside::Nothing => value,
            Beside::Ratio => {
                let (middle, low, high) =
                    spread(&pairs.map(|(over, under)| over / under).collect::<Vec<_>>());
                format!("{value} · {}× ({}–{})", short(middle), short(low), short(high))
            }
            Beside::Difference if under_is_direct(way) => {
                let (middle, low, high) =
                    spread(&pairs.map(|(over, under)| over - under).collect::<Vec<_>>());
                format!("{value} · {} ({}–{})", signed(middle), signed(low), signed(high))
            }
            Beside::Difference => value,
        }
    }
}

fn under_is_direct(way: &str) -> bool {
    matches!(way, COPY | BROKER | RELAY)
}

fn heading(way: &str) -> String {
    match way {
        DIRECT => "direct to the origin".to_owned(),
        COPY | BROKER | RELAY => format!("{way} · ÷ direct"),
        peer => format!("{peer} · broker ÷ {peer}"),
    }
}

/// What one run has over another, way by way.
pub(crate) fn compare(old: &Report, new: &Report) -> String {
    let mut text = format!("{} ({}) → {} ({})\n", old.commit, old.date, new.commit, new.date);
    if old.machine != new.machine {
        text.push_str(&format!("two machines: {} → {}\n", old.machine, new.machine));
    }
    let ways: Vec<&String> = old.ways.iter().filter(|way| new.ways.contains(way)).collect();
    let head: Vec<String> = ways.iter().map(|way| format!("{way}, new ÷ old")).collect();
    text.push_str(&format!("| | {} |\n|---|{}\n", head.join(" | "), "---:|".repeat(head.len())));
    for row in &new.rows {
        let Some(before) = old.rows.iter().find(|before| before.name == row.name) else { continue };
        let cells: Vec<String> =
            ways.iter().map(|way| change(before.samples.get(*way), row.samples.get(*way))).collect();
        text.push_str(&format!("| {}, {} | {} |\n", row.name, row.unit, cells.join(" | ")));
    }
    for curve in &new.curves {
        let Some(before) = old.curves.iter().find(|before| before.of == curve.of) else { continue };
        for point in &curve.points {
            let Some(earlier) = before.points.iter().find(|earlier| earlier.size == point.size) else {
                continue;
            };
            let cell = change(Some(&earlier.samples), Some(&point.samples));
            text.push_str(&format!("{} {}, {}: {cell}\n", grouped(point.size), curve.of, curve.unit));
        }
    }
    text
}

/// The ratio of medians, and between which ratios the rounds lie at the extremes.
fn change(old: Option<&Vec<f64>>, new: Option<&Vec<f64>>) -> String {
    match (old, new) {
        (Some(old), Some(new)) if !old.is_empty() && !new.is_empty() => {
            let ((old, old_low, old_high), (new, low, high)) = (spread(old), spread(new));
            format!("{}× ({}–{})", short(new / old), short(low / old_high), short(high / old_low))
        }
        _ => "–".to_owned(),
    }
}

fn spread(samples: &[f64]) -> (f64, f64, f64) {
    let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (median(samples), low, high)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".to_owned(),
        size if size >= 100.0 => grouped_text(&format!("{value:.0}")),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn signed(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", short(value.abs()))
}

fn grouped(number: usize) -> String {
    grouped_text(&number.to_string())
}

/// Thousands apart.
fn grouped_text(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len() - at;
        if at > 0 && left.is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
