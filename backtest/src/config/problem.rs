//! What is wrong with a configuration, and where. Problems are gathered, so that a user sees all of them at once.

use std::fmt;

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a file, from 1.
    Line {
        /// The file.
        file: String,
        /// The line.
        line: usize,
    },
    /// A flag of the command line.
    Flag(String),
    /// A variable of the environment.
    Variable(String),
    /// Not given anywhere.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}: "),
            Self::Flag(name) | Self::Variable(name) => write!(f, "{name}: "),
            Self::Default => Ok(()),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Given<T> {
    /// A value from somewhere.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, self.what)
    }
}

/// All that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, place: &Place, what: impl Into<String>) {
        self.0.push(Problem { place: place.clone(), what: what.into() });
    }

    /// Notes the error of a result, and gives its value.
    pub fn check<T, E: fmt::Display>(&mut self, place: &Place, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(place, error.to_string())).ok()
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// All problems, if there are any.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => {
                self.0.dedup();
                Err(self)
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{only}"),
            many => {
                write!(f, "{} things are wrong with the configuration", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
