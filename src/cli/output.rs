//! What a command prints on success: tables for people, JSON for programs.

use std::io::{self, Write};

use super::World;
use crate::failure::Failure;

/// Writes to stdout exactly what is given; a reader that went away is not a failure of ours.
pub fn print(text: &str) -> Result<(), Failure> {
    write_to(&mut io::stdout().lock(), text.as_bytes())
}

/// Writes bytes to stdout: a credential's value need not be text.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    write_to(&mut io::stdout().lock(), bytes)
}

/// Says on stdout what was done.
pub fn success(world: &World<'_>, text: &str) -> Result<(), Failure> {
    let (green, off) = if world.wants_colour() { ("\u{1b}[32m", "\u{1b}[0m") } else { ("", "") };
    print(&format!("{green}✓{off} {text}\n"))
}

/// Writes a broker's answer as it came, for programs.
pub fn print_json(body: &[u8]) -> Result<(), Failure> {
    let mut text = body.trim_ascii_end().to_vec();
    text.push(b'\n');
    print_bytes(&text)
}

/// Writes a line to stderr: notes and warnings, never results.
pub fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

fn write_to(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A table with upper-case headers and aligned columns.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| printable(cell).chars().count());
        cells.chain(headers.get(column).map(|header| header.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    std::iter::once(&headers).chain(rows).map(|row| line(row, &widths)).collect()
}

/// One line of a table; a cell wider than its column moves the rest of its line.
pub fn line(cells: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{:width$}", printable(cell))).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// A text that stays on its line and cannot command the terminal, whatever it holds: what is read is what is
/// there, in its order. An agent's proposal is decided on what is seen of it.
pub fn printable(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        if c.is_control() || is_unseen(c) { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// Characters without a shape of their own that turn the order of others around, break their line or come
/// between them.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "xyz".to_owned()], vec!["long-name".to_owned(), "é".to_owned()]];
        assert_eq!(table(&["NAME", "ID"], &rows), "NAME       ID\na          xyz\nlong-name  é\n");
    }

    #[test]
    fn a_cell_cannot_leave_its_line_or_command_the_terminal() {
        let rows = vec![vec!["a\nb\u{1b}[2J".to_owned()]];
        assert_eq!(table(&["X"], &rows), "X\na\\nb\\u{1b}[2J\n");
        // Shown as they are, these would read `api.stripe.com`.
        for host in ["api.\u{202e}moc.epirts", "api.str\u{200b}ipe.com", "\u{2066}api.stripe.com"] {
            assert!(printable(host).contains("\\u{20"), "{host:?}");
        }
        assert_eq!(printable("é 語 🙂"), "é 語 🙂");
    }
}
