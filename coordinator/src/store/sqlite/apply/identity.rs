//! Who may do what, and what an auditor wants to know.

use ppwasm_proto::Digest;
use rusqlite::params;

use super::{Apply, Stop};
use crate::store::limits::{check_certificate, check_denied, check_details, check_event};
use crate::store::sqlite::read;
use crate::store::sqlite::row::column;
use crate::store::{Answer, AuditEvent, Certificate, Denied, DeniedSubject, Refusal, Token};

impl Apply<'_> {
    pub(super) fn token_issued(&mut self, token: &Token) -> Result<Answer, Stop> {
        check_details(&token.details)?;
        if let Some(there) = read::token(self.db, &token.hash)? {
            return match there == *token {
                true => Ok(Answer::Known),
                false => Err(Refusal::NameTaken.into()),
            };
        }
        let sum = read::token_sum(token);
        let put = "INSERT INTO token (hash, expires_ms, details, sum) VALUES (?, ?, ?, ?)";
        let hash = token.hash.as_bytes();
        self.put(
            put,
            params![hash, column(token.expires_ms), token.details, sum],
        )
    }

    pub(super) fn token_redeemed(&mut self, hash: &Digest) -> Result<Answer, Stop> {
        let token = read::token(self.db, hash)?.ok_or(Refusal::UnknownToken)?;
        if column(token.expires_ms) <= self.at_ms {
            return Err(Refusal::TokenExpired.into());
        }
        self.put("DELETE FROM token WHERE hash = ?", [hash.as_bytes()])?;
        Ok(Answer::Redeemed(token))
    }

    pub(super) fn certificate(&mut self, certificate: &Certificate) -> Result<Answer, Stop> {
        check_certificate(certificate)?;
        if let Some(there) = read::certificate(self.db, &certificate.serial)? {
            return match there == *certificate {
                true => Ok(Answer::Known),
                false => Err(Refusal::NameTaken.into()),
            };
        }
        let put = "INSERT INTO certificate (serial, identity, expires_ms, details, sum)
                   VALUES (?, ?, ?, ?, ?)";
        let columns = params![
            certificate.serial,
            certificate.identity,
            column(certificate.expires_ms),
            certificate.details,
            read::certificate_sum(certificate),
        ];
        self.put(put, columns)
    }

    pub(super) fn denied(&mut self, denied: &Denied) -> Result<Answer, Stop> {
        check_denied(denied)?;
        let (is_identity, subject) = match &denied.subject {
            DeniedSubject::Serial(serial) => (false, serial.as_slice()),
            DeniedSubject::Identity(identity) => (true, identity.as_bytes()),
        };
        let sum = read::denied_sum(denied);
        let put = "INSERT INTO denied (is_identity, subject, reason, at_ms, sum)
                   VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let at_ms = column(denied.at_ms);
        self.put(
            put,
            params![is_identity, subject, denied.reason, at_ms, sum],
        )
    }

    pub(super) fn audited(&mut self, event: &AuditEvent) -> Result<Answer, Stop> {
        check_event(event)?;
        let (number, before) = match self.known.chain {
            Some(chain) => chain,
            None => {
                let meta = read::meta(self.db)?;
                (meta.events, meta.chain)
            }
        };
        let chain = read::chain(&before, number, event);
        let put = "INSERT INTO event (number, at_ms, kind, body, chain) VALUES (?, ?, ?, ?, ?)";
        let at_ms = column(event.at_ms);
        self.put(
            put,
            params![number, at_ms, event.kind, event.body, chain.as_bytes()],
        )?;
        let mut meta = read::meta(self.db)?;
        meta.events = number + 1;
        meta.chain = chain;
        meta.put(self.db)?;
        self.known.chain = Some((number + 1, chain));
        Ok(Answer::Done)
    }
}
