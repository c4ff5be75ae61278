//! Secrets in texts of events.

use std::borrow::Cow;

/// Parts of names of fields that hold a secret.
const SECRETS: [&str; 5] = ["secret", "token", "password", "passphrase", "authorization"];
/// A token is its prefix (`tfa_`) and hexadecimal digits; fewer than these are none.
const DIGITS_MIN: usize = 16;

/// Whether a field of this name holds a secret.
pub(super) fn is_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    SECRETS.iter().any(|secret| field.contains(secret))
}

/// The text with the tokens that this server makes cut behind their prefix.
pub(super) fn without_tokens(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut shown = String::new();
    while let Some(at) = rest.find("tf") {
        let bytes = &rest.as_bytes()[at..];
        let digits = match bytes {
            [_, _, kind, b'_', digits @ ..] if kind.is_ascii_lowercase() => {
                digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
            }
            _ => 0,
        };
        if digits >= DIGITS_MIN {
            shown.push_str(&rest[..at + 4]);
            shown.push('…');
            rest = &rest[at + 4 + digits..];
        } else {
            shown.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
        }
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tradeflow_state::{Token, TokenKind};

    use super::*;

    #[test]
    fn fields_that_hold_secrets_are_known_by_their_names() {
        for name in ["secret", "Webhook_Secret", "access_token", "PASSWORD"] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("symbol") && !is_secret("error"));
    }

    proptest! {
        #[test]
        fn no_token_is_left_and_all_else_stays(before in "[ -~é]{0,20}", after in "[g-zG-Zé .]{0,20}", kind in 0_usize..6) {
            let kinds = [TokenKind::Access, TokenKind::Refresh, TokenKind::Csrf, TokenKind::Reset, TokenKind::ApiKey, TokenKind::Webhook];
            let token = Token::new(kinds[kind]);
            let secret = token.reveal();
            let shown = without_tokens(&format!("{before}{secret}{after}{secret}")).into_owned();
            prop_assert!(!shown.contains(&secret[4..]), "{shown}");
            prop_assert_eq!(shown, format!("{before}{}…{after}{}…", &secret[..4], &secret[..4]));
            prop_assert_eq!(without_tokens(&before), before.as_str());
        }
    }
}
