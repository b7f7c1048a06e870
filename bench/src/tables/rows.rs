//! The tables: which figures stand in which document, and in what words.

use crate::report::Asked::{self, AtLeast, AtMost};

/// A document with tables in it.
pub(super) struct Document {
    /// From the repository's root.
    pub(super) path: &'static str,
    pub(super) tables: &'static [Table],
}

/// A table between markers of its name.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
}

/// One line of a table. Its words hold figures, as [`super::cells`] fills them in.
pub(super) struct Row {
    /// The file in `results/`, without its ending.
    pub(super) file: &'static str,
    pub(super) what: &'static str,
    /// Figures of which something is asked, and how that is said.
    pub(super) asked: &'static [(&'static str, Asked, &'static str)],
    pub(super) reached: &'static str,
}

pub(super) const DOCUMENTS: [Document; 2] = [
    Document { path: "README.md", tables: &[Table { name: "measured", rows: MEASURED }] },
    Document {
        path: "results/README.md",
        tables: &[
            Table { name: "connections", rows: CONNECTIONS },
            Table { name: "durable", rows: DURABLE },
            Table { name: "channels", rows: CHANNELS },
            Table { name: "beside others", rows: BESIDE_OTHERS },
        ],
    },
];

const HELD: Row = Row {
    file: "hold",
    what: "connections in one process, all answering ping",
    asked: &[
        ("sessions_at_the_end", AtLeast(100_000.0), "100,000"),
        ("refused", AtMost(0.0), "none refused"),
    ],
    reached: "{sessions_at_the_end:,}, {refused:,} refused; {pings:,} pings, {pongs:,} pongs in {idle_seconds:.0} s",
};
const MEMORY: Row = Row {
    file: "hold",
    what: "resident memory per idle session",
    asked: &[("rss_per_session_bytes", AtMost(256.0), "≤ 256 B")],
    reached: "{rss_per_session_bytes:.0+} B; {rss_held_bytes:MB} in all, {rss_ready_bytes:MB} of it when ready",
};
const KERNEL: Row = Row {
    file: "hold",
    what: "kernel memory per idle connection beyond a bare accepted socket",
    asked: &[("kernel_beyond_bare_socket_bytes", AtMost(350.0), "≤ 350 B")],
    reached: "{kernel_beyond_bare_socket_bytes:.0+} B, of which {floor_kernel_poll_bytes:.0} B are the armed poll",
};
const IDLE: Row = Row {
    file: "hold",
    what: "idle CPU at {connections:,} connections, ping every 25 s",
    asked: &[("idle_cpu_ratio", AtMost(1.3), "≤ 1.3 × floor")],
    reached: "{idle_cpu_ratio:.2+} × ({idle_cpu_msec_per_second:.0} ms/s against {floor_ping_cpu_msec_per_second:.0} ms/s)",
};
const FANOUT: Row = Row {
    file: "fanout",
    what: "one frame to {connections:,} connections",
    asked: &[("ratio_of_floor", AtLeast(0.9), "≥ 0.9 of the floor")],
    reached: "{ratio_of_floor:.2+} ({gateway_sends_per_second:,} against {floor_sends_per_second:,} sends/s)",
};
const PUSH: Row = Row {
    file: "push",
    what: "ephemeral pushes to random users, {rate_pushes_per_second:,}/s, {connections:,} connected",
    asked: &[("latency_p99_msec", AtMost(5.0), "p99 < 5 ms"), ("lost", AtMost(0.0), "none lost")],
    reached: "p50 {latency_p50_msec:.2} ms, p95 {latency_p95_msec:.2} ms, p99 {latency_p99_msec:.2+} ms, p99.9 \
              {latency_p999_msec:.1} ms; {lost:,} of {messages_received:,} lost; gateway core {gateway_core_percent:%} busy",
};
const CONNECT: Row = Row {
    file: "connect",
    what: "connect, upgrade, token and hand-off, {shards} shards on one core",
    asked: &[("ratio_of_floor", AtLeast(0.6), "≥ 0.6 of bare accepts")],
    reached: "{ratio_of_floor:.2+} ({gateway_sessions_per_second:,} sessions/s against {floor_accepts_per_second:,} \
              accepts/s)",
};
const BATCHES: Row = Row {
    file: "durable",
    what: "durable pushes of {payload_bytes} B in HTTP batches of 100 to {devices:,} devices",
    asked: &[
        ("batches_accepted_per_second", AtLeast(50_000.0), "≥ 50,000/s"),
        ("batches_lost", AtMost(0.0), "none lost"),
        ("batches_out_of_order", AtMost(0.0), "none out of order"),
    ],
    reached: "{batches_accepted_per_second:,+}/s, {batches_lost:,} lost, {batches_out_of_order:,} out of order; \
              {batches_messages_per_commit:.0} messages a commit",
};
const LEDGER: Row = Row {
    file: "ledger",
    what: "ledger: {cycles:,} times SIGKILL while messages flow",
    asked: &[
        ("accepted_per_second", AtLeast(9_000.0), "≥ 9,000/s"),
        ("lost", AtMost(0.0), "0 lost"),
        ("order_broken", AtMost(0.0), "0 out of order"),
        ("names_broken", AtMost(0.0), "0 ids changed"),
        ("forged_or_astray", AtMost(0.0), "0 astray"),
    ],
    reached: "{accepted_per_second:,+}/s; of {deliveries_owed:,} deliveries owed {lost:,+} lost, {order_broken:,} out of \
              order, {names_broken:,} ids changed, {forged_or_astray:,} astray; {deliveries_repeated:,} came twice, as \
              promised; {second_ids_before_kills:,} had been delivered under another id before a kill; ready again after \
              {ready_after_kill_msec:.0} ms, the slowest after {ready_after_kill_slowest_msec:.0} ms",
};
const SUSTAINED: Row = Row {
    file: "channel-sustained",
    what: "a channel's frames to {subscribers:,} subscribers, p95 < {p95_max_msec:.0} ms",
    asked: &[
        ("best_frames_per_second", AtLeast(8_000_000.0), "≥ 8,000,000 frames/s"),
        ("ratio_of_floor", AtLeast(0.8), "≥ 0.8 of the floor at the same bytes per send"),
    ],
    reached: "{best_frames_per_second:,+} frames/s at p95 {best_p95_msec:.0+} ms, {ratio_of_floor:.2} of the floor at \
              {send_bytes:KB} a send; gateway core {best_gateway_core_percent:%} busy, the subscribers' \
              {best_receiver_core_percent:%}",
};

const MEASURED: &[Row] = &[HELD, MEMORY, KERNEL, IDLE, FANOUT, PUSH, CONNECT, BATCHES, LEDGER, SUSTAINED];
const CONNECTIONS: &[Row] =
    &[HELD, MEMORY, MEMORY_OF_ONE_SHARD, KERNEL, IDLE, FANOUT, PUSH, HOT_PATH, CONNECT, DEMO];

const MEMORY_OF_ONE_SHARD: Row = Row {
    file: "hold-one-shard",
    what: "the same with {connections:,} connections on one shard",
    asked: &[("rss_per_session_bytes", AtMost(256.0), "≤ 256 B")],
    reached: "{rss_per_session_bytes:.0+} B; {rss_held_bytes:MB} in all, {rss_ready_bytes:MB} of it when ready",
};
const HOT_PATH: Row = Row {
    file: "hot-path",
    what: "CPU per message, beside the gateway of c51ac1f, before the core was divided into rooms",
    asked: &[
        ("fanout_gateway_to_other_ratio", AtMost(1.03), "≤ 1.03 for fan-out"),
        ("push_gateway_to_other_ratio", AtMost(1.03), "for pushes"),
        ("durable_gateway_to_other_ratio", AtMost(1.03), "for durable ones"),
    ],
    reached: "{fanout_gateway_to_other_ratio:.2+} ({fanout_gateway_cpu_usec:.2} µs, the floor's send \
              {fanout_floor_send_cpu_usec:.2}), {push_gateway_to_other_ratio:.2+} ({push_gateway_cpu_usec:.1} µs), \
              {durable_gateway_to_other_ratio:.2+} ({durable_gateway_cpu_usec:.1} µs)",
};

const DEMO: Row = Row {
    file: "demo",
    what: "the demo: {devices:,} devices of {users:,} users",
    asked: &[("lost", AtMost(0.0), "none lost")],
    reached: "p50 {latency_p50_ms:.2} ms, p99 {latency_p99_ms:.2+} ms; {lost:,} of {received:,} lost; \
              {memory_per_connection_bytes:.0} B for each connection",
};

const DURABLE: &[Row] = &[
    BATCHES,
    Row {
        file: "durable",
        what: "the publisher's wait at 25,000/s",
        asked: &[("half_answer_p99_msec", AtMost(25.0), "p99 < 25 ms")],
        reached: "p50 {half_answer_p50_msec:.1} ms, p99 {half_answer_p99_msec:.1+} ms (delivery: {half_delivery_p50_msec:.1} \
                  and {half_delivery_p99_msec:.1} ms)",
    },
    Row {
        file: "durable",
        what: "single POSTs on 64 connections",
        asked: &[("single_accepted_per_second", AtLeast(20_000.0), "≥ 20,000/s")],
        reached: "{single_accepted_per_second:,+}/s, p99 {single_answer_p99_msec:.1} ms",
    },
    Row {
        file: "durable",
        what: "batches of 100 to devices that are offline",
        asked: &[("offline_accepted_per_second", AtLeast(40_000.0), "≥ 40,000/s")],
        reached: "{offline_accepted_per_second:,+}/s",
    },
    Row {
        file: "mailbox-append",
        what: "the store's append and sync against a bare append-and-sync loop, equal batches",
        asked: &[
            ("batch_1_mailbox_to_bare_ratio", AtLeast(0.7), "≥ 0.7 in batches of 1"),
            ("batch_10_mailbox_to_bare_ratio", AtLeast(0.7), "of 10"),
            ("batch_100_mailbox_to_bare_ratio", AtLeast(0.7), "of 100"),
            ("batch_1000_mailbox_to_bare_ratio", AtLeast(0.7), "of 1,000"),
        ],
        reached: "{batch_1_mailbox_to_bare_ratio:.2+}, {batch_10_mailbox_to_bare_ratio:.2+}, \
                  {batch_100_mailbox_to_bare_ratio:.2+}, {batch_1000_mailbox_to_bare_ratio:.2+}",
    },
    Row {
        file: "replay",
        what: "replay of {messages:,} waiting messages to one device",
        asked: &[
            ("replay_512_bytes_share_of_target", AtLeast(1.0), "≥ 200 MB/s or ≥ 300,000 messages/s of 512 B"),
            ("replay_64_bytes_share_of_target", AtLeast(1.0), "of 64 B"),
        ],
        reached: "512 B: {replay_512_bytes_messages_per_second:,+}/s, {replay_512_bytes_payload_megabytes_per_second:.0} \
                  MB/s; 64 B: {replay_64_bytes_messages_per_second:,+}/s",
    },
    Row {
        file: "replay",
        what: "what that adds to others on the same shard",
        asked: &[
            ("replay_512_bytes_others_p99_more_msec", AtMost(5.0), "p99 ≤ 5 ms with 512 B"),
            ("replay_64_bytes_others_p99_more_msec", AtMost(5.0), "with 64 B"),
        ],
        reached: "512 B: {replay_512_bytes_others_p99_more_msec:.1+} ms; 64 B: \
                  {replay_64_bytes_others_p99_more_msec:.1+} ms",
    },
    Row {
        file: "stalled",
        what: "memory of a device that stops reading, the kernel's included",
        asked: &[("bytes_per_stalled", AtMost(65_536.0), "≤ 64 KiB")],
        reached: "{bytes_per_stalled:KB+} here, {sockets_bytes_per_stalled:KB} of it in the gateway's sockets \
                  ({both_ends_tcp_bytes_per_stalled:KB} more wait in the device's own socket, which is on this machine, too)",
    },
    Row {
        file: "stalled",
        what: "healthy devices' p99 when {stalled:,} of {devices:,} stop reading, {rate_per_second:,} messages/s",
        asked: &[("healthy_p99_ratio", AtMost(1.1), "within 10 %")],
        reached: "{healthy_p99_ratio:.2+} × (p99 {with_latency_p99_msec:.1} against {without_latency_p99_msec:.1} ms, p50 \
                  {with_latency_p50_msec:.1} against {without_latency_p50_msec:.1} ms)",
    },
    Row {
        file: "restart",
        what: "ready again with {stored:,} messages stored",
        asked: &[
            ("ready_after_sigterm_seconds", AtMost(1.0), "< 1 s after SIGTERM"),
            ("ready_after_sigkill_seconds", AtMost(1.0), "after SIGKILL"),
            ("delivered_afterwards", AtLeast(1_000_000.0), "all delivered afterwards"),
        ],
        reached: "{ready_after_sigterm_seconds:ms+} after SIGTERM, {ready_after_sigkill_seconds:ms+} after SIGKILL; \
                  {delivered_afterwards:,} delivered afterwards",
    },
    LEDGER,
];

const CHANNELS: &[Row] = &[
    Row {
        file: "channel-once",
        what: "one message to {subscribers:,} subscribers",
        asked: &[("ratio_of_floor", AtLeast(0.9), "≥ 0.9 of the floor")],
        reached: ONCE,
    },
    Row {
        file: "channel-once-100k",
        what: "one message to {subscribers:,} subscribers, on one core",
        asked: &[("ratio_of_floor", AtLeast(0.9), "≥ 0.9 of the floor")],
        reached: ONCE,
    },
    SUSTAINED,
    Row {
        file: "channel-sustained-100k",
        what: "the same to {subscribers:,} on 2 cores, p95 < {p95_max_msec:.0} ms",
        asked: &[],
        reached: "{best_frames_per_second:,+} frames/s at p95 {best_p95_msec:.0+} ms; gateway \
                  {best_gateway_core_percent:%} of a core, the subscribers {best_receiver_core_percent:%}",
    },
    Row {
        file: "channel-direct",
        what: "direct pushes during a broadcast to {subscribers:,}, 2 shards on one core",
        asked: DIRECT_ASKED,
        reached: DIRECT,
    },
    Row {
        file: "channel-direct-100k",
        what: "the same during one to {subscribers:,}, 6 shards on one core",
        asked: DIRECT_ASKED,
        reached: DIRECT,
    },
    Row {
        file: "channel-memory",
        what: "memory of a subscription beyond the session",
        asked: &[
            ("subscription_to_ten_bytes", AtMost(32.0), "≤ 32 B each for ten"),
            ("subscription_to_sixty_bytes", AtMost(32.0), "for sixty"),
        ],
        reached: "{subscription_to_ten_bytes:.1+} B each for ten, {subscription_to_sixty_bytes:.1+} B for sixty, \
                  {subscription_spread_bytes:.1} B spread over {spread_over_channels:,} channels; a session with none \
                  {session_bytes:.0+} B at {sessions:,}",
    },
    Row {
        file: "channel-many",
        what: "{channels:,} channels with {subscribers_of_each} subscribers each, 20,000 messages/s in batches",
        asked: &[("batched_p99_msec", AtMost(20.0), "p99 < 20 ms")],
        reached: "p50 {batched_p50_msec:.1}, p95 {batched_p95_msec:.1}, p99 {batched_p99_msec:.1+} ms; single publishes: \
                  {single_messages_per_second:,}/s with p99 {single_p99_msec:.1} ms, at most \
                  {single_fastest_messages_per_second:,}/s",
    },
    Row {
        file: "channel-stalled",
        what: "{stalled:,} of {subscribers:,} subscribers never read",
        asked: &[("others_p99_ratio", AtMost(1.1), "the others' p99 within 10 %")],
        reached: "{others_p99_ratio:.2+} × ({with_p99_msec:.1} against {without_p99_msec:.1} ms); {bytes_per_stalled:KB} for \
                  one that never reads, {sockets_bytes_per_stalled:KB} of it in its two sockets",
    },
];

const ONCE: &str = "{ratio_of_floor:.2+} of its rate ({gateway_sends_per_second:,} against {floor_sends_per_second:,} \
                    sends/s), {cpu_ratio_of_floor:.2+} of it by CPU ({gateway_send_cpu_usec:.2} against \
                    {floor_send_cpu_usec:.2} µs)";
const DIRECT_ASKED: &[(&str, Asked, &str)] = &[
    (
        "ephemeral_always_added_p99_msec",
        AtMost(10.0),
        "ephemeral p99 ≤ 10 ms added with one always under way",
    ),
    ("ephemeral_every_second_added_p99_msec", AtMost(10.0), "with one a second"),
    ("durable_always_added_p99_msec", AtMost(10.0), "durable with one always"),
    ("durable_every_second_added_p99_msec", AtMost(10.0), "durable with one a second"),
];
const DIRECT: &str = "{ephemeral_always_added_p99_msec:.1+}, {ephemeral_every_second_added_p99_msec:.1+}, \
                      {durable_always_added_p99_msec:.1+} and {durable_every_second_added_p99_msec:.1+} ms";

const BESIDE_OTHERS: &[Row] = &[
    Row { file: "compare-campanile", what: "Campanile", asked: &[], reached: COMPARED },
    Row {
        file: "compare-uwebsockets",
        what: "uWebSockets (Bun's publish/subscribe)",
        asked: &[],
        reached: COMPARED,
    },
    Row { file: "compare-nchan", what: "nginx with nchan", asked: &[], reached: COMPARED },
    Row { file: "compare-ws", what: "npm `ws`", asked: &[], reached: COMPARED },
];
const COMPARED: &str = "{best_delivered_frames_per_second:,+} frames/s at p95 {best_p95_msec:.0} ms; CPU per frame \
                        {best_server_cpu_usec_per_frame:.2} µs, alone {first_step_server_cpu_usec_per_frame:.1} µs";
