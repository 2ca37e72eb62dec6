//! What the pages of the documentation show.

/// The blocks of a page whose fence has this mark (`sh test`), as one script.
#[must_use]
pub fn commands(page: &str, mark: &str) -> String {
    let mut inside = false;
    let mut script = String::new();
    for line in page.lines().map(str::trim_end) {
        match line.strip_prefix("```") {
            Some(fence) => inside = fence == mark,
            None if inside => script.extend([line, "\n"]),
            None => {}
        }
    }
    script
}
