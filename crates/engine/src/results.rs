//! What workers say of their jobs: results, progress, streamed values. In a list the end of one job is the start of
//! the next, in the same transaction.

use bytes::Bytes;
use runyard_domain::job::Answer;
use runyard_domain::{Job, JobId, Payload, Timestamp};
use runyard_store::Command;
use runyard_vault::WorkerCaller;

use crate::{Engine, EngineError};

impl Engine {
    /// A worker's answer. `Ok(None)` where it changed nothing: the job had ended, or was never this worker's.
    pub async fn finish(
        &self,
        who: &WorkerCaller,
        job: &JobId,
        answer: Answer,
        output: Option<Bytes>,
    ) -> Result<Option<Job>, EngineError> {
        self.finish_posted(who, job, answer, output, None).await
    }

    /// The same of an answer that the worker began to send at `posted`.
    pub async fn finish_posted(
        &self,
        who: &WorkerCaller,
        job: &JobId,
        answer: Answer,
        output: Option<Bytes>,
        posted: Option<Timestamp>,
    ) -> Result<Option<Job>, EngineError> {
        let output = match output {
            Some(bytes) => Some(self.keep_result(bytes).await?),
            None => None,
        };
        let worker = who.worker().clone();
        let command = Command::Finish { job: job.clone(), worker, answer, output: output.clone(), posted };
        self.note_start(who.worker(), job);
        let next = self.next_in_list(who.worker(), Some(job));
        let reply = self.shared.writer.commit_then(command, next).await;
        let finished = reply.and_then(|reply| Self::settled(job, reply));
        self.settle_stop(who.worker(), |stopping| stopping == job);
        match finished {
            Ok(job) => Ok(Some(job)),
            Err(EngineError::Refused { refusal, .. }) => {
                tracing::info!(job.id = %job, worker.id = %who.worker(), %refusal, "a result changed nothing");
                Ok(None)
            }
            Err(EngineError::NoSuchJob(_)) => Ok(None),
            Err(error) => {
                self.discard_after(&error, output.as_ref());
                Err(error)
            }
        }
    }

    /// The latest progress value of a running job. Late and foreign ones change nothing.
    pub async fn progress(&self, who: &WorkerCaller, job: &JobId, value: Bytes) -> Result<(), EngineError> {
        let value = self.keep_result(value).await?;
        let worker = who.worker().clone();
        self.note_start(who.worker(), job);
        self.output_of(job, &value, Command::Progress { job: job.clone(), worker, value: value.clone() })
            .await
    }

    /// One streamed value of a running job. Late and foreign ones change nothing.
    pub async fn chunk(
        &self,
        who: &WorkerCaller,
        job: &JobId,
        number: Option<u64>,
        value: Bytes,
    ) -> Result<(), EngineError> {
        let value = self.keep_result(value).await?;
        let worker = who.worker().clone();
        self.note_start(who.worker(), job);
        let command = Command::Chunk { job: job.clone(), worker, number, value: value.clone() };
        self.output_of(job, &value, command).await
    }

    async fn output_of(&self, job: &JobId, value: &Payload, command: Command) -> Result<(), EngineError> {
        match self.commit_job(job, command).await {
            Ok(_) | Err(EngineError::Refused { .. } | EngineError::NoSuchJob(_)) => Ok(()),
            Err(error) => {
                self.discard_after(&error, Some(value));
                Err(error)
            }
        }
    }
}
