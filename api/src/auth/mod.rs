//! Who asks, and whether he may.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`As`]: a handler names the role that it takes |
//! | `guard.rs` | finds out who asks before any handler; limits |
//! | `cookies.rs` | cookies of pages |
//!
//! A route that takes no [`As`] is open to everyone; a test holds that against the OpenAPI document.

pub(crate) mod cookies;
pub(crate) mod guard;

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use tradeflow_state::{Identity, Role, Scope};

use crate::context::Context;
use crate::problem::Problem;
use guard::Resolved;

/// Someone who is known.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub identity: Arc<Identity>,
    /// From where.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// His id.
    pub fn id(&self) -> &str {
        &self.identity.user.id
    }

    /// From where, as text.
    pub(crate) fn address(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }

    /// Whether he may do what this role may: by his own, and by the key that he uses.
    pub fn may(&self, role: Role) -> bool {
        self.identity.user.role >= role && self.identity.scopes.contains(&Scope::of(role))
    }
}

/// The least role that a handler takes.
pub trait Level: 'static {
    /// The role.
    const ROLE: Role;
}

macro_rules! levels {
    ($($level:ident),*) => { $(
        #[doc = concat!("Role `", stringify!($level), "` or above.")]
        #[derive(Debug)]
        pub enum $level {}
        impl Level for $level {
            const ROLE: Role = Role::$level;
        }
    )* };
}
levels!(Viewer, Trader, Manager, Administrator);

/// A caller who has at least this role, and, where he uses a key, its scope.
#[derive(Debug)]
pub struct As<L>(Caller, PhantomData<L>);

impl<L> Deref for As<L> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<L: Level> FromRequest for As<L> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            caller(request).and_then(|caller| allowed(&caller, L::ROLE).map(|()| Self(caller, PhantomData))),
        )
    }
}

fn caller(request: &HttpRequest) -> Result<Caller, Problem> {
    let extensions = request.extensions();
    let (identity, by_cookie) = match extensions.get::<Resolved>() {
        Some(Resolved::Known(identity, by_cookie)) => (identity.clone(), *by_cookie),
        Some(Resolved::Failed(problem)) => return Err(problem.clone()),
        Some(Resolved::Unknown) => {
            return Err(Problem::unauthorized("the token is none, or its time is over: log in, or refresh"));
        }
        Some(Resolved::Absent) | None => {
            return Err(Problem::unauthorized("log in, and send the access token: authorization: Bearer …"));
        }
    };
    // A cookie comes with whatever page asks; the token only with ours.
    if by_cookie && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let token = request.headers().get("x-csrf-token").and_then(|token| token.to_str().ok());
        if !token.is_some_and(|token| identity.is_csrf(token)) {
            return Err(Problem::forbidden("with a cookie, a write needs the header x-csrf-token"));
        }
    }
    Ok(Caller { identity, address: request.peer_addr().map(|peer| peer.ip()) })
}

fn allowed(caller: &Caller, role: Role) -> Result<(), Problem> {
    if caller.identity.user.role < role {
        let has = caller.identity.user.role.name();
        return Err(Problem::forbidden(format!("this takes a {}, you are a {has}", role.name())));
    }
    match caller.may(role) {
        true => Ok(()),
        false => Err(Problem::forbidden(format!("this key lacks the scope {}", Scope::of(role).name()))),
    }
}

/// Where a request comes from.
pub(crate) fn address(request: &HttpRequest) -> String {
    request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default()
}

/// A viewer, or whoever sits at this machine: `tradeflow status` needs no log-in there.
#[derive(Debug)]
pub struct AtHome;

impl FromRequest for AtHome {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let open = request.app_data::<Context>().is_some_and(|shared| shared.config.local_status);
        let local = open && request.peer_addr().is_some_and(|peer| peer.ip().is_loopback());
        // A page of someone else that has its name point here sends that name.
        let host = request.connection_info().host().to_owned();
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        let named = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
        if local && named && request.headers().get("origin").is_none() {
            return ready(Ok(Self));
        }
        ready(caller(request).and_then(|caller| allowed(&caller, Role::Viewer)).map(|()| Self))
    }
}
