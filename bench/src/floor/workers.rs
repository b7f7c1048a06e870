//! Threads that each own something which must stay on its thread, such as a ring, and do jobs with it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use campanile_floor::FloorError;
use campanile_harness::usage::thread_cpu;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// One thread per state. Dropping it lets the threads finish their jobs, drop their states and end.
pub(super) struct Workers<S> {
    jobs: Vec<Sender<Job<S>>>,
    threads: Vec<JoinHandle<()>>,
}

/// A job's result with the CPU time that its thread spent on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured<T> {
    pub(super) value: T,
    pub(super) cpu: Duration,
}

/// A job that runs on every thread.
#[must_use = "the results must be waited for"]
pub(super) struct Started<T> {
    results: Vec<Receiver<Result<Measured<T>, FloorError>>>,
}

impl<S: 'static> Workers<S> {
    /// Starts a thread for each maker, which makes the thread's state there.
    pub(super) fn new<M>(makers: Vec<M>) -> anyhow::Result<Self>
    where
        M: FnOnce() -> Result<S, FloorError> + Send + 'static,
    {
        let mut workers = Self { jobs: Vec::new(), threads: Vec::new() };
        let mut made = Vec::new();
        for maker in makers {
            let (jobs, todo) = channel::<Job<S>>();
            let (report, result) = channel();
            workers.threads.push(std::thread::spawn(move || {
                let mut state = match maker() {
                    Ok(state) => state,
                    Err(error) => return drop(report.send(Err(error))),
                };
                // Whoever no longer listens has failed already and says so itself.
                let _ = report.send(Ok(()));
                for job in todo {
                    job(&mut state);
                }
            }));
            workers.jobs.push(jobs);
            made.push(result);
        }
        for result in made {
            result.recv().context("a thread has died")??;
        }
        Ok(workers)
    }

    /// Starts `job` on every thread; it gets the thread's number.
    pub(super) fn start<T, J>(&self, job: J) -> Started<T>
    where
        T: Send + 'static,
        J: FnOnce(&mut S, usize) -> Result<T, FloorError> + Clone + Send + 'static,
    {
        let results = self.jobs.iter().enumerate().map(|(number, jobs)| {
            let (report, result) = channel();
            let job = job.clone();
            // If the thread is gone, the result's channel is closed and waiting says so.
            let _ = jobs.send(Box::new(move |state| {
                let before = thread_cpu();
                let value = job(state, number);
                let cpu = thread_cpu() - before;
                let _ = report.send(value.map(|value| Measured { value, cpu }));
            }));
            result
        });
        Started { results: results.collect() }
    }

    /// Runs `job` on every thread and waits for it.
    pub(super) fn run<T, J>(&self, job: J) -> anyhow::Result<Vec<Measured<T>>>
    where
        T: Send + 'static,
        J: FnOnce(&mut S, usize) -> Result<T, FloorError> + Clone + Send + 'static,
    {
        self.start(job).wait()
    }
}

impl<S> Drop for Workers<S> {
    fn drop(&mut self) {
        self.jobs.clear();
        for thread in self.threads.drain(..) {
            // A panic has been printed by its thread.
            let _ = thread.join();
        }
    }
}

impl<T> Started<T> {
    /// The results in the threads' order, or the first failure.
    pub(super) fn wait(self) -> anyhow::Result<Vec<Measured<T>>> {
        let results =
            self.results.into_iter().map(|result| Ok(result.recv().context("a thread has died")??));
        results.collect()
    }
}

/// The CPU time of all threads.
pub(super) fn total_cpu<T>(measured: &[Measured<T>]) -> Duration {
    measured.iter().map(|one| one.cpu).sum()
}
