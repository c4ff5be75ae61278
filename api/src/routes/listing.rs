//! What the lists of orders, fills and trades have in common: whose, which, and which page.

use tradeflow_model::Timestamp;
use tradeflow_state::trading::Which;
use tradeflow_state::{Cursor, Role};

use super::account_of;
use crate::auth::Caller;
use crate::context::Context;
use crate::problem::Problem;

/// A query with a filter: these fields, and those of its own.
macro_rules! filter {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
        #[into_params(parameter_in = Query)]
        pub(crate) struct $name {
            /// Of this account; of all that the caller may see when it is not given.
            account: Option<String>,
            /// Of this instrument.
            symbol: Option<String>,
            /// Of this strategy, by its id.
            strategy: Option<String>,
            /// Of this side.
            side: Option<String>,
            /// From this time on, as UTC in RFC 3339.
            from: Option<String>,
            /// Before this time.
            to: Option<String>,
            $($(#[$field_about])* $field: $type,)*
        }

        impl $name {
            fn scope(&self) -> $crate::routes::listing::Scope<'_> {
                $crate::routes::listing::Scope {
                    account: self.account.as_deref(),
                    symbol: self.symbol.as_deref(),
                    strategy: self.strategy.as_deref(),
                    side: self.side.as_deref(),
                    from: self.from.as_deref(),
                    to: self.to.as_deref(),
                }
            }
        }
    };
}
pub(crate) use filter;

/// The query of a list that comes in pages.
macro_rules! listing {
    ($(#[$about:meta])* $name:ident { $($fields:tt)* }) => {
        $crate::routes::listing::filter! {
            $(#[$about])*
            $name {
                $($fields)*
                /// `next` of the page before.
                cursor: Option<String>,
                /// How many at most: 1 to 500, 100 when it is not given.
                #[param(minimum = 1, maximum = 500)]
                limit: Option<u32>,
            }
        }

        impl $name {
            fn page(&self) -> Result<$crate::routes::listing::PageOf, Problem> {
                $crate::routes::listing::PageOf::read(self.cursor.as_deref(), self.limit)
            }
        }
    };
}
pub(crate) use listing;

/// Whose, and which.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) account: Option<&'a str>,
    pub(crate) symbol: Option<&'a str>,
    pub(crate) strategy: Option<&'a str>,
    pub(crate) side: Option<&'a str>,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
}

/// Accounts that a list is of; none for all.
pub(crate) type Accounts = Option<Vec<String>>;

/// The accounts that the caller may see.
pub(crate) async fn accounts_shown(shared: &Context, caller: &Caller) -> Result<Accounts, Problem> {
    match caller.identity.user.role >= Role::Manager {
        true => Ok(None),
        false => Ok(Some(shared.state.accounts_of(caller.id()).await?)),
    }
}

impl<'a> Scope<'a> {
    /// The accounts that the caller may see, or the one that he asks for.
    pub(crate) async fn accounts(&self, shared: &Context, caller: &Caller) -> Result<Accounts, Problem> {
        if let Some(account) = self.account {
            account_of(shared, caller, account).await?;
            return Ok(Some(vec![account.to_owned()]));
        }
        accounts_shown(shared, caller).await
    }

    /// The filter.
    pub(crate) fn which(&self, accounts: &'a Accounts) -> Result<Which<'a>, Problem> {
        Ok(Which {
            accounts: accounts.as_deref(),
            symbol: self.symbol,
            strategy: self.strategy,
            side: self.side,
            from: instant("from", self.from)?,
            to: instant("to", self.to)?,
        })
    }
}

/// A time of a query, in nanoseconds.
pub(crate) fn instant(field: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = |text: &str| {
        let read = text.parse::<Timestamp>();
        read.map_err(|_| Problem::field(field, "takes a time such as 2026-02-03T15:30:00Z"))
    };
    Ok(text.map(read).transpose()?.map(Timestamp::as_nanos))
}

/// Which page.
#[derive(Debug)]
pub(crate) struct PageOf {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: u32,
}

impl PageOf {
    pub(crate) fn read(cursor: Option<&str>, limit: Option<u32>) -> Result<Self, Problem> {
        let cursor = cursor.map(str::parse).transpose();
        let cursor = cursor.map_err(|()| Problem::field("cursor", "takes `next` of the page before"))?;
        Ok(Self { cursor, limit: super::limit(limit)? })
    }
}
