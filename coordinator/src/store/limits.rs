//! What a store takes, whichever it is.

use super::{
    AuditEvent, BATCH_BYTES_MAX, BATCH_WRITES_MAX, Batch, Body, Certificate, DETAIL_BYTES_MAX,
    Denied, DeniedSubject, INLINE_BYTES_MAX, Refusal, Write,
};

/// Bytes of a serial number (RFC 5280).
pub(super) const SERIAL_BYTES_MAX: usize = 20;
/// Bytes of a name: of an identity, or of a kind of event.
pub(super) const NAME_BYTES_MAX: usize = 256;

pub(super) fn check_batch(batch: &Batch) -> Result<(), Refusal> {
    limit(
        "a batch's number of writes",
        batch.writes.len(),
        BATCH_WRITES_MAX,
    )?;
    limit("a batch", batch.bytes(), BATCH_BYTES_MAX)?;
    let bodies = |write: &Write| match write {
        Write::TasksAdded { calls, .. } => {
            limit("a batch's number of calls", calls.len(), BATCH_WRITES_MAX)?;
            calls.iter().try_for_each(check_body)
        }
        Write::TaskEnded { result, .. } => result.bodies().into_iter().try_for_each(check_body),
        Write::Bundle { body, .. } => check_body(body),
        _ => Ok(()),
    };
    batch.writes.iter().try_for_each(bodies)
}

fn check_body(body: &Body) -> Result<(), Refusal> {
    match body.is_allowed() {
        true => Ok(()),
        false => Err(Refusal::TooLarge {
            what: "a body in a row",
            max: INLINE_BYTES_MAX as u64,
        }),
    }
}

pub(super) fn check_details(details: &[u8]) -> Result<(), Refusal> {
    limit("details", details.len(), DETAIL_BYTES_MAX)
}

pub(super) fn check_certificate(certificate: &Certificate) -> Result<(), Refusal> {
    limit(
        "a serial number",
        certificate.serial.len(),
        SERIAL_BYTES_MAX,
    )?;
    limit("an identity", certificate.identity.len(), NAME_BYTES_MAX)?;
    check_details(&certificate.details)
}

pub(super) fn check_denied(denied: &Denied) -> Result<(), Refusal> {
    match &denied.subject {
        DeniedSubject::Serial(serial) => limit("a serial number", serial.len(), SERIAL_BYTES_MAX)?,
        DeniedSubject::Identity(identity) => limit("an identity", identity.len(), NAME_BYTES_MAX)?,
    }
    check_details(denied.reason.as_bytes())
}

pub(super) fn check_event(event: &AuditEvent) -> Result<(), Refusal> {
    limit("an event's kind", event.kind.len(), NAME_BYTES_MAX)?;
    check_details(&event.body)
}

fn limit(what: &'static str, size: usize, max: usize) -> Result<(), Refusal> {
    let max = max as u64;
    if size as u64 > max {
        return Err(Refusal::TooLarge { what, max });
    }
    Ok(())
}
