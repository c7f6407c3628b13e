//! Requests that have one answer.

use ppwasm_proto::wire::{
    CancelJob, CertificateIssued, Done, DrainWorker, ExplainTask, ForgetJob, Functions, JobShown,
    Jobs, ListFunctions, ListJobs, ListWorkers, Message, MintToken, RenewCertificate, RetryJob,
    RevokeIdentity, SetWorkerSlots, ShowJob, ShowTask, TaskExplained, TaskShown, TokenMinted,
    Workers,
};

/// A request that has one answer, and may be said again when that did not come.
pub(crate) trait Question: Into<Message> + Send + 'static {
    /// What answers it.
    type Answer;

    /// Numbers it.
    fn set_request(&mut self, request: u32);

    /// Takes the answer; another message is given back.
    #[allow(
        clippy::result_large_err,
        reason = "the message is the result either way"
    )]
    fn answer(message: Message) -> Result<Self::Answer, Message>;
}

macro_rules! questions {
    ($($question:ident => $answer:ident,)+) => {
        $(impl Question for $question {
            type Answer = $answer;

            fn set_request(&mut self, request: u32) {
                self.request = request;
            }

            fn answer(message: Message) -> Result<$answer, Message> {
                match message {
                    Message::$answer(answer) => Ok(answer),
                    other => Err(other),
                }
            }
        })+
    };
}

questions! {
    CancelJob => Done,
    RetryJob => Done,
    ForgetJob => Done,
    ListJobs => Jobs,
    ShowJob => JobShown,
    ExplainTask => TaskExplained,
    ShowTask => TaskShown,
    ListWorkers => Workers,
    DrainWorker => Done,
    SetWorkerSlots => Done,
    ListFunctions => Functions,
    MintToken => TokenMinted,
    RevokeIdentity => Done,
    RenewCertificate => CertificateIssued,
}

/// The request that a message answers, of those that answer a question.
pub(crate) const fn answered(message: &Message) -> Option<u32> {
    Some(match message {
        Message::Done(answer) => answer.request,
        Message::Jobs(answer) => answer.request,
        Message::JobShown(answer) => answer.request,
        Message::TaskExplained(answer) => answer.request,
        Message::TaskShown(answer) => answer.request,
        Message::Workers(answer) => answer.request,
        Message::Functions(answer) => answer.request,
        Message::TokenMinted(answer) => answer.request,
        Message::CertificateIssued(answer) => answer.request,
        _ => return None,
    })
}
