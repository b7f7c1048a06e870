//! What always holds in a shard, each with a name, looked at after every turn of every story and seed.

mod slow_consumers;

pub(super) use self::slow_consumers::SlowConsumers;
