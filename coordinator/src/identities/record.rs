//! How tokens and audit events are kept in the store.

use ppwasm_certs::{PublicKey, Role, TokenError, TokenId, TokenRecord};
use ppwasm_proto::Digest;

use crate::store::{AuditEvent, Token, Write};

/// What `details` of a token begin with.
const TOKEN_VERSION: u8 = 1;

/// The name under which a token is kept.
pub(super) fn hash_of(id: TokenId) -> Digest {
    Digest::of(id.as_bytes())
}

/// A token as it is kept: version, role, verifier, name.
pub(super) fn write_token(record: &TokenRecord) -> Token {
    let role = match record.role {
        Role::Coordinator => 0,
        Role::Worker => 1,
        Role::Client => 2,
    };
    let mut details = vec![TOKEN_VERSION, role];
    details.extend(record.verifier.as_bytes());
    details.extend(record.name.as_deref().unwrap_or_default().as_bytes());
    Token {
        hash: hash_of(record.id),
        details,
        expires_ms: record.expires_s.saturating_mul(1000),
    }
}

/// Reads what [`write_token`] wrote.
pub(super) fn read_token(id: TokenId, token: &Token) -> Result<TokenRecord, TokenError> {
    let read = || {
        let (head, rest) = token.details.split_first_chunk::<2>()?;
        let role = match head {
            [TOKEN_VERSION, 1] => Role::Worker,
            [TOKEN_VERSION, 2] => Role::Client,
            _ => return None,
        };
        let (verifier, name) = rest.split_first_chunk::<32>()?;
        let name = std::str::from_utf8(name).ok()?;
        Some(TokenRecord {
            id,
            verifier: PublicKey::from_bytes(*verifier),
            role,
            // A name has a character at least.
            name: (!name.is_empty()).then(|| name.into()),
            expires_s: token.expires_ms / 1000,
        })
    };
    read().ok_or(TokenError::Unknown)
}

/// An audit event: one line, who first.
pub(super) fn audited(at_ms: u64, kind: &str, by: &str, about: &str) -> Write {
    Write::Audited(AuditEvent {
        at_ms,
        kind: kind.to_owned(),
        body: format!("by={by} {about}").trim_end().as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_from_the_store() {
        for (role, name) in [(Role::Worker, None), (Role::Client, Some("ann"))] {
            let record = TokenRecord {
                id: TokenId::from_bytes([7; 8]),
                verifier: PublicKey::from_bytes([9; 32]),
                role,
                name: name.map(Into::into),
                expires_s: 12,
            };
            let mut token = write_token(&record);
            assert_eq!(read_token(record.id, &token), Ok(record.clone()));
            token.details.truncate(33);
            assert_eq!(read_token(record.id, &token), Err(TokenError::Unknown));
        }
    }
}
