//! Queries with conditions that depend on what is asked.

use sqlx::any::AnyArguments;
use sqlx::query::QueryAs;
use sqlx::{Any, AssertSqlSafe, FromRow};

use crate::database::State;
use crate::error::StateError;

/// A value of a condition.
#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Integer(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

/// A query that grows. Texts of it are the program's own; what comes from outside is bound.
#[derive(Debug)]
pub(crate) struct Select {
    sql: String,
    values: Vec<Value>,
}

impl Select {
    /// `SELECT … FROM …`, without conditions.
    pub(crate) fn from(sql: &str) -> Self {
        Self { sql: format!("{sql} WHERE 1 = 1"), values: Vec::new() }
    }

    fn bind(&mut self, value: Value) -> usize {
        self.values.push(value);
        self.values.len()
    }

    /// A condition; `?` in it stands for the value.
    #[allow(private_bounds, reason = "texts and integers alone")]
    pub(crate) fn and(mut self, condition: &str, value: impl Into<Value>) -> Self {
        let number = self.bind(value.into());
        self.sql += &format!(" AND {}", condition.replace('?', &format!("${number}")));
        self
    }

    /// The same where there is a value.
    #[allow(private_bounds, reason = "texts and integers alone")]
    pub(crate) fn and_if(self, condition: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.and(condition, value),
            None => self,
        }
    }

    /// One of these texts; any at all when there are none to choose from.
    pub(crate) fn among(mut self, column: &str, texts: Option<&[String]>) -> Self {
        let Some(texts) = texts else { return self };
        if texts.is_empty() {
            self.sql += " AND 1 = 0";
            return self;
        }
        let places: Vec<_> =
            texts.iter().map(|text| format!("${}", self.bind(text.as_str().into()))).collect();
        self.sql += &format!(" AND {column} IN ({})", places.join(", "));
        self
    }

    /// The newest first, from behind a cursor on; the columns are time, number and account.
    pub(crate) fn page(mut self, columns: [&str; 3], cursor: Option<&Cursor>, limit: u32) -> Self {
        let [time, number, account] = columns;
        if let Some(cursor) = cursor {
            let places = [
                self.bind(cursor.time.into()),
                self.bind(cursor.number.into()),
                self.bind(cursor.account.as_str().into()),
            ];
            let [a, b, c] = places;
            self.sql += &format!(" AND ({time}, {number}, {account}) < (${a}, ${b}, ${c})");
        }
        let limit = self.bind(i64::from(limit).into());
        self.sql += &format!(" ORDER BY {time} DESC, {number} DESC, {account} DESC LIMIT ${limit}");
        self
    }

    /// What comes last.
    pub(crate) fn ending(mut self, sql: &str) -> Self {
        self.sql += " ";
        self.sql += sql;
        self
    }

    /// The rows.
    pub(crate) async fn fetch<T>(self, state: &State) -> Result<Vec<T>, StateError>
    where
        T: for<'r> FromRow<'r, sqlx::any::AnyRow> + Send + Unpin,
    {
        let mut query: QueryAs<'_, Any, T, AnyArguments> = sqlx::query_as(AssertSqlSafe(self.sql));
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Integer(integer) => query.bind(integer),
            };
        }
        Ok(query.fetch_all(&state.pool).await?)
    }
}

/// A pattern of LIKE with the escape `!`: whatever contains the text.
pub(crate) fn contains(text: &str) -> String {
    format!("%{}%", text.replace('!', "!!").replace('%', "!%").replace('_', "!_"))
}

/// A place in a list that is sorted by time, then number, then account: the last entry that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its time, in nanoseconds.
    pub time: i64,
    /// Its number within the account.
    pub number: i64,
    /// Its account.
    pub account: String,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.time, self.number, self.account)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            time: next()?.parse().map_err(|_| ())?,
            number: next()?.parse().map_err(|_| ())?,
            account: next()?.to_owned(),
        })
    }
}
