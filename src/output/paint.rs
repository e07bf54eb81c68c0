//! The colours of the text views: what each colour means, and none at all where colour is off.

use owo_colors::{Style, Styled};
use std::fmt::Display;

/// Colours by meaning. The same meaning has the same colour in every view.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// With or without colour. Whether is the user's and the terminal's business.
    pub fn new(on: bool) -> Paint {
        Paint { on }
    }

    /// What repeats on every line: times, tasks, sockets.
    pub fn quiet<T: Display>(self, item: T) -> Styled<T> {
        self.style(Style::new().dimmed(), item)
    }

    /// The word that says what happened.
    pub fn word<T: Display>(self, item: T) -> Styled<T> {
        self.style(Style::new().bold(), item)
    }

    /// Bytes from the process.
    pub fn send<T: Display>(self, item: T) -> Styled<T> {
        self.style(Style::new().cyan(), item)
    }

    /// Bytes to the process.
    pub fn recv<T: Display>(self, item: T) -> Styled<T> {
        self.style(Style::new().green(), item)
    }

    /// Gaps, losses, failures.
    pub fn alarm<T: Display>(self, item: T) -> Styled<T> {
        self.style(Style::new().red().bold(), item)
    }

    fn style<T: Display>(self, style: Style, item: T) -> Styled<T> {
        if self.on { style.style(item) } else { Style::new().style(item) }
    }
}
