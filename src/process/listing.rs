//! Tables of /proc/PID/net whose last column is free text, which may hold anything but a line break.

use std::fs;

/// One line of a table.
#[derive(Debug)]
pub(super) struct Row(String);

/// The rows of `table` in the network namespace of `pid`; none where there is no such table.
pub(super) fn rows(pid: u32, table: &str) -> Vec<Row> {
    let bytes = fs::read(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
    let lines = bytes.split(|&byte| byte == b'\n').skip(1);
    lines.map(|line| Row(String::from_utf8_lossy(line).into_owned())).collect()
}

impl Row {
    /// The decimal number in a column, counted from 0.
    pub(super) fn number(&self, column: usize) -> Option<u64> {
        self.0.split_ascii_whitespace().nth(column)?.parse().ok()
    }

    /// The hexadecimal number in a column.
    pub(super) fn hexadecimal(&self, column: usize) -> Option<u64> {
        u64::from_str_radix(self.0.split_ascii_whitespace().nth(column)?, 16).ok()
    }

    /// The text from the start of a column to the end of the line; absent where there is none.
    pub(super) fn rest(&self, column: usize) -> Option<String> {
        let mut rest = self.0.trim_ascii_start();
        for _ in 0..column {
            rest = rest.split_once(|c: char| c.is_ascii_whitespace())?.1.trim_ascii_start();
        }
        (!rest.is_empty()).then(|| rest.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_from_nought_and_the_last_is_whole() {
        let row = Row(" 0: 00010000  7 a b  c".into());
        assert_eq!((row.hexadecimal(1), row.number(2), row.number(3)), (Some(1 << 16), Some(7), None));
        assert_eq!((row.rest(3), row.rest(6)), (Some("a b  c".into()), None));
        assert_eq!(Row("".into()).rest(0), None);
    }
}
