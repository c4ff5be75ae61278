//! Decimals in bodies: as text (`"101.25"`), or as a number, taken as it is written.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

/// A decimal of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amount(pub(crate) Decimal);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal, as text (\"101.25\") or as a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                let read = text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self));
                read.map(Amount)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.into()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.into()))
            }

            // Its shortest text is what was written, as far as such a number can hold it.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Amount, E> {
                let read = number.to_string().parse();
                read.map(Amount).map_err(|_| E::invalid_value(de::Unexpected::Float(number), &self))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_numbers_are_taken_as_they_are_written() {
        for (json, expected) in [
            ("\"101.250\"", "101.250"),
            ("101.25", "101.25"),
            ("0.1", "0.1"),
            ("7", "7"),
            ("-3", "-3"),
            ("1e-3", "0.001"),
        ] {
            let Amount(read) = serde_json::from_str(json).unwrap();
            assert_eq!(read.to_string(), expected, "{json}");
        }
        for bad in ["\"\"", "\"1,5\"", "\"NaN\"", "null", "true", "[1]", "1e300"] {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }
}
