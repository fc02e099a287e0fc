//! A table of text, aligned for a terminal or written in Markdown.

/// Cells under a heading each; columns from the second on are numbers and stand on the right.
#[derive(Debug)]
pub struct Table {
    pub headings: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let headings: Vec<String> = self.headings.iter().map(|&text| text.to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| lines().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for line in lines() {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.headings.join(" | "));
        for column in 0..self.headings.len() {
            text.push_str(if column == 0 { " --- |" } else { " ---: |" });
        }
        text.push('\n');
        for row in &self.rows {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_aligned_and_marked_down() {
        let row = |name: &str, number: &str| vec![name.to_owned(), number.to_owned()];
        let table =
            Table { headings: vec!["row", "≤ n"], rows: vec![row("long name", "1"), row("b", "1234")] };
        assert_eq!(table.text(), "row         ≤ n\nlong name     1\nb          1234\n");
        assert_eq!(table.markdown(), "| row | ≤ n |\n| --- | ---: |\n| long name | 1 |\n| b | 1234 |\n");
    }
}
