"""The 31 failure modes of NATS under this platform: what is done, what has to come of it, and which tests show it.

Most tests stand beside the code they are about; those in this package are what was missing. `tests/chaos/test_table.py`
sees that every test exists; docs/concepts/reliability.md shows this table to people.
"""

from __future__ import annotations

from dataclasses import dataclass

_CHASSIS, _KERNEL = "libs/chassis/tests", "services/kernel/tests"
_THREE, _ONE = "tests/chaos/test_three_servers.py", "tests/chaos/test_one_server.py"
_CONSUMERS = "tests/chaos/test_consumers.py"
_PERSISTENCE, _GATEWAY = "services/persistence/tests/shell", "services/venue-gateway/tests"
_ONCE = frozenset({"lost", "doubled"})
_NOT_TWICE, _KEPT, _CHAINED = frozenset({"doubled"}), frozenset({"lost"}), frozenset({"chain"})


@dataclass(frozen=True, slots=True)
class Row:
    """One failure mode. ``tests``: at least one; ``remark``: what the tests do not show.

    ``asserted``: of "lost", "doubled" and "chain", what its tests assert without measuring it.
    """

    number: int
    name: str
    injected: str
    expected: str
    tests: tuple[str, ...]
    remark: str = ""
    asserted: frozenset[str] = frozenset()


LONG_TESTS = frozenset(
    {
        "test_nats_01_graceful_end_of_the_leader_is_a_short_pause",
        "test_nats_03_kill_9_of_all_servers_delays_and_loses_nothing",
        "test_nats_23_follower_that_was_away_holds_up_nobody_and_catches_up",
        "test_nats_28_rolling_upgrade_under_load_pauses_and_loses_nothing",
        "test_nats_29_sigterm_of_every_service_under_load_loses_and_doubles_nothing",
    }
)
"""They run in `make chaos` alone; all others in `make test` as well."""

TABLE = (
    Row(
        1,
        "Broker ends in order",
        "lame duck (SIGUSR2) or SIGTERM to the leader",
        "a pause until another leads, of about a second on a quiet machine; nothing lost or doubled",
        (
            f"{_THREE}::test_nats_01_graceful_end_of_the_leader_is_a_short_pause",
            f"{_CHASSIS}/test_consume.py::test_on_three_servers_the_loop_goes_on_when_its_leader_leaves",
        ),
    ),
    Row(
        2,
        "Broker killed in mid-publish",
        "kill -9 of the leader under load, three servers and one",
        "acknowledged is stored; what is unknown is settled by id and tail; writers pause longer and longer while "
        "nobody leads",
        (
            f"{_THREE}::test_nats_02_kill_9_of_the_leader_under_load_loses_nothing_that_was_acknowledged",
            f"{_KERNEL}/shell/test_gaps.py"
            "::test_a_server_killed_again_and_again_while_inputs_are_taken_loses_none_of_them",
            f"{_CHASSIS}/test_bus.py::test_a_publish_that_is_repeated_waits_longer_each_time_up_to_a_second",
            f"{_CHASSIS}/test_journal.py::test_an_append_survives_a_killed_and_a_frozen_server",
        ),
    ),
    Row(
        3,
        "All brokers killed",
        "kill -9 of all three, start",
        "as 2; meanwhile nothing is sent, and nothing is sent later",
        (
            f"{_THREE}::test_nats_03_kill_9_of_all_servers_delays_and_loses_nothing",
            f"{_GATEWAY}/shell/test_failures.py::test_bus_killed_in_mid_run_delays_and_loses_nothing",
        ),
    ),
    Row(
        4,
        "Power loss",
        "the journal's newest block cut short while the server is down",
        "noticed: the database remembers a position behind the journal's end, or another entry at it; persistence "
        "stops loudly",
        (
            f"{_ONE}::test_nats_04_journal_that_lost_its_unsynced_tail_stops_persistence_which_had_seen_it",
            f"{_ONE}::test_nats_04_journal_that_lost_its_tail_and_was_written_on_stops_persistence_at_once",
            f"{_PERSISTENCE}/test_record_of_streams.py::test_a_database_of_other_streams_is_refused_loudly",
            f"{_CHASSIS}/test_nats_config.py::test_every_write_is_synced_and_the_acknowledgement_form_is_pinned",
        ),
        "An approximation: cutting the power of a machine, or dropping its unsynced pages, needs a machine of its own. "
        "Kestrel's servers sync every write before they acknowledge it, so that no tail is unsynced; that disk and "
        "system keep what they synced is taken from them",
    ),
    Row(
        5,
        "Broker frozen",
        "SIGSTOP, later SIGCONT",
        "publishes that got no answer are unknown, never failed; the same id again settles them",
        (
            f"{_THREE}::test_nats_05_frozen_leader_leaves_publishes_unknown_and_the_history_exact",
            f"{_CHASSIS}/test_bus.py::"
            "test_a_frozen_server_leaves_the_outcome_unknown_and_asking_again_with_the_id_settles_it",
        ),
    ),
    Row(
        6,
        "Publisher without a connection",
        "the only broker killed, then publish",
        "refused at once; nothing is kept and sent later",
        (
            f"{_CHASSIS}/test_bus.py::test_while_the_server_is_down_nothing_is_stored_and_nothing_is_stored_later",
            f"{_CHASSIS}/test_bus.py::test_what_the_library_still_holds_is_thrown_away_when_the_connection_breaks",
        ),
        asserted=_ONCE,
    ),
    Row(
        7,
        "Consumer dies between effect and acknowledgement",
        "kill -9 of each service in mid-run",
        "it comes again; keys make it nothing",
        (
            f"{_PERSISTENCE}/test_process.py::test_killed_in_mid_run_it_loses_nothing_and_stores_nothing_twice",
            f"{_KERNEL}/shell/test_process.py::test_after_a_kill_in_mid_run_every_input_is_journaled_exactly_once",
            "tests/integration/test_crashes.py::test_kill_9_in_mid_run_loses_nothing_and_doubles_nothing_P10",
        ),
        asserted=_ONCE | _CHAINED,
    ),
    Row(
        8,
        "Acknowledgements lost in a broker crash",
        "acknowledge everything, then kill -9",
        "up to all of it comes again, without a second effect",
        (
            f"{_CONSUMERS}::test_nats_08_acknowledgements_lost_in_a_broker_crash_cause_redelivery_and_no_second_effect",
            f"{_PERSISTENCE}/test_record_of_streams.py::test_a_redelivery_of_everything_changes_nothing",
            f"{_KERNEL}/shell/test_gaps.py"
            "::test_a_server_killed_again_and_again_while_inputs_are_taken_loses_none_of_them",
        ),
    ),
    Row(
        9,
        "The same message twice",
        "the same id inside and outside the window of duplicates",
        "inside: told as a duplicate; outside: stored again, and the reader's permanent key catches it",
        (
            f"{_CONSUMERS}::"
            "test_nats_09_duplicate_inside_the_window_is_flagged_and_outside_it_the_readers_key_catches_it",
            f"{_KERNEL}/core/test_partition.py::test_the_same_event_again_changes_nothing_and_says_so_K10",
            f"{_GATEWAY}/shell/test_gateway.py::"
            "test_command_repeated_in_the_journal_is_a_replay_and_sends_nothing_TOKEN_REPLAY_T03",
        ),
        asserted=_ONCE,
    ),
    Row(
        10,
        "The same id with other content",
        "another message stored under an entry's id",
        "an id follows from its cause, so that only the same cause meets it again; the journal's writer compares the "
        "bytes all the same, and ends where they are others",
        (f"{_CHASSIS}/test_journal.py::test_an_id_that_is_stored_with_other_bytes_ends_the_writer",),
        "In other streams nobody compares: the server keeps what came first under an id, within its window, and says "
        "that it is stored",
        asserted=_CHAINED,
    ),
    Row(
        11,
        "Two owners",
        "the owner frozen beyond its lease, another takes over, the first wakes up",
        "the first is refused by the server and ends; one history; no second order",
        (
            f"{_KERNEL}/shell/test_process.py::test_two_instances_write_one_history_even_when_the_owner_was_frozen",
            f"{_GATEWAY}/shell/test_failures.py::"
            "test_frozen_gateway_that_wakes_up_after_its_lease_sends_nothing_SCN_22",
            f"{_CHASSIS}/test_journal.py::test_a_stale_owner_is_refused_and_there_is_exactly_one_history",
        ),
        asserted=_NOT_TWICE | _CHAINED,
    ),
    Row(
        12,
        "No quorum for leases",
        "two of three servers killed",
        "the holder stops by its own clock; nobody takes over until there is a quorum",
        (
            f"{_THREE}::test_nats_12_lease_without_quorum_ends_by_the_holders_own_clock_and_nobody_takes_it",
            f"{_CHASSIS}/test_lease.py::test_a_holder_that_is_cut_off_stops_by_its_own_clock_before_the_lease_ends",
        ),
        asserted=_NOT_TWICE,
    ),
    Row(
        13,
        "A foreign write into the journal",
        "a stranger's entry in mid-run, on three servers",
        "later writes are refused, no part of a batch is seen, the kernel reads again and goes on",
        (
            f"{_KERNEL}/shell/test_cluster.py::test_a_stranger_in_mid_run_costs_an_epoch_and_never_a_second_history",
            f"{_CHASSIS}/test_bus.py::test_an_atomic_batch_is_stored_whole_or_not_at_all",
        ),
        asserted=_NOT_TWICE | _CHAINED,
    ),
    Row(
        14,
        "Slow consumer",
        "a slow handler behind a full stream; deliveries lost on the way",
        "bounded batches, a lag that can be seen, nothing dropped",
        (
            f"{_CONSUMERS}::test_nats_14_slow_handler_sees_everything_once_and_its_lag",
            f"{_CHASSIS}/test_consume.py::test_an_ordered_loop_ends_before_what_follows_a_lost_delivery",
        ),
        "A lag is a figure, and shown by `kestrel status`; no alert is raised for it",
    ),
    Row(
        15,
        "Storm of redeliveries",
        "put back without a pause; handling longer than the wait",
        "a bounded rate; the count is told; given-up messages raise an alert",
        (
            f"{_CONSUMERS}::test_nats_15_message_that_is_always_put_back_comes_at_a_bounded_rate",
            f"{_CONSUMERS}::test_nats_15_handling_longer_than_the_wait_is_redelivered_and_told",
            f"{_CHASSIS}/test_advisories.py::test_a_message_that_is_given_up_and_a_changed_stream_raise_alerts",
        ),
        asserted=_KEPT,
    ),
    Row(
        16,
        "Poison message",
        "bytes that cannot be read, wrong doors, rows that the database refuses",
        "parked with reason and headers, an alert, and what is behind it goes on; a damaged journal halts",
        (
            f"{_CHASSIS}/test_parking.py::test_a_parked_message_has_all_that_is_needed_to_put_it_back",
            f"{_CHASSIS}/test_parking.py::test_parking_twice_is_parking_once_and_raises_one_alert",
            f"{_KERNEL}/shell/test_owner.py::test_garbage_and_wrong_doors_are_parked_and_nothing_behind_waits_P11",
            f"{_KERNEL}/shell/test_owner.py::test_a_damaged_journal_halts_its_partition_loudly",
            "services/governance/tests/shell/test_service.py::"
            "test_what_cannot_be_read_is_parked_and_nothing_behind_it_waits_P11",
            f"{_PERSISTENCE}/test_record_of_streams.py::"
            "test_a_row_the_database_refuses_is_parked_with_its_words_and_the_rest_goes_on_P11",
        ),
        asserted=_KEPT,
    ),
    Row(
        17,
        "Disk full",
        "a store on a memory disk of 24 MiB, filled",
        "publishes end unknown, plain health says 503, frozen until a restart; what was acknowledged stays",
        (f"{_ONE}::test_nats_17_full_disk_freezes_the_stream_until_a_restart_and_loses_nothing_acknowledged",),
        "Left out where a machine gives no mount namespace",
    ),
    Row(
        18,
        "Limit of a stream or a store",
        "a full stream; a full store",
        "told apart from a missing leader; reading goes on; goes on once a person made room",
        (
            f"{_ONE}::test_nats_18_full_store_is_told_apart_from_a_missing_leader_and_reading_goes_on",
            f"{_CHASSIS}/test_bus.py::test_a_full_stream_is_a_limit_and_not_a_missing_leader",
        ),
        asserted=_ONCE,
    ),
    Row(
        19,
        "Stream or consumer deleted",
        "deleted under a running kernel",
        "stream: not ready, an alert, no spin, not made anew. Consumer: read again from the journal's position",
        (
            f"{_CONSUMERS}::test_nats_19_kernel_whose_inbox_is_deleted_is_not_ready_says_so_and_makes_nothing_anew",
            f"{_CHASSIS}/test_watch.py"
            "::test_a_deleted_stream_is_one_alert_of_all_services_and_none_is_ready_until_it_is_back",
            f"{_CONSUMERS}::test_nats_19_kernel_whose_consumer_is_deleted_goes_on_from_its_own_position",
            f"{_CHASSIS}/test_consume.py::test_a_deleted_consumer_is_an_alarm_and_not_a_spin",
        ),
        asserted=_ONCE,
    ),
    Row(
        20,
        "Other settings at the start",
        "a stream, or a consumer, that somebody changed",
        "the service refuses to start, names the setting, and changes nothing",
        (
            f"{_CHASSIS}/test_service.py::test_it_refuses_to_start_on_streams_that_somebody_changed",
            f"{_CHASSIS}/test_consume.py::test_a_consumer_that_exists_with_other_settings_is_refused",
        ),
    ),
    Row(
        21,
        "Clocks that differ",
        "clocks of services moved against each other, by an injected clock: each of the simulated world has its own",
        "what another clock wrote is believed with a margin of 5 s; expiry fails closed; leases by the own clock",
        (
            "tests/simulation/test_simulation.py"
            "::test_a_seeded_world_breaks_no_invariant_and_comes_to_rest_K07_K21_T03_T11",
            f"{_GATEWAY}/core/test_admission.py"
            "::test_clock_that_is_behind_the_signers_by_no_more_than_the_margin_changes_nothing",
            f"{_GATEWAY}/core/test_admission.py::test_token_from_the_future_is_refused",
            f"{_GATEWAY}/core/test_admission.py::test_token_ends_at_the_nanosecond_it_says_TOKEN_EXPIRED",
            f"{_KERNEL}/core/test_partition.py::test_time_never_goes_back",
            f"{_CHASSIS}/test_lease.py::test_a_holder_that_is_cut_off_stops_by_its_own_clock_before_the_lease_ends",
        ),
        "Clocks that are off by up to 0.2 s, and jumps of up to 90 s forward; no machine's clock is really moved",
        asserted=_ONCE | _CHAINED,
    ),
    Row(
        22,
        "One server cut off",
        "every route of the journal's leader cut, old owner on its side, new owner on the other",
        "the cut-off side acknowledges nothing; after the cut the old owner ends; one history",
        (f"{_THREE}::test_nats_22_leader_cut_off_from_the_others_takes_no_write_and_its_writer_ends",),
    ),
    Row(
        23,
        "Follower far behind",
        "a follower away for 20,000 messages; a replay from a server that does not have all of it yet",
        "nobody waits for it; the lag can be seen, and is told after a minute; it catches up; no replay ends before "
        "the leader's end",
        (
            f"{_THREE}::test_nats_23_follower_that_was_away_holds_up_nobody_and_catches_up",
            f"{_CHASSIS}/test_watch.py::test_a_server_that_is_away_is_behind_and_comes_back",
            f"{_CHASSIS}/test_watch.py::test_a_server_that_stays_behind_is_told_once_an_hour_by_all_services_together",
            f"{_CHASSIS}/test_bus.py::test_a_replay_that_a_server_behind_ended_early_goes_on_to_the_end",
            f"{_CHASSIS}/test_bus.py::test_a_replay_whose_server_stays_behind_is_unavailable_and_never_short",
        ),
        "20,000 messages, not a million",
    ),
    Row(
        24,
        "Damaged block file",
        "one bit of a stored block flipped while the server is down",
        "the server leaves the entry out, and every reader stops at the gap; or it ends the stream before the damage, "
        "and whoever remembers more stops: the kernel by its snapshot, persistence by its position (row 4)",
        (
            f"{_ONE}::test_nats_24_flipped_byte_in_a_stored_block_stops_every_reader_of_the_journal",
            f"{_ONE}::test_nats_24_journal_that_the_server_cut_off_at_the_damage_halts_the_kernel_that_remembers_more",
            f"{_KERNEL}/core/test_replay.py::test_a_changed_byte_in_any_entry_breaks_the_chain",
            f"{_PERSISTENCE}/test_record_of_streams.py::test_a_stream_that_was_changed_is_detected_and_located_C16",
        ),
        "Wiping the damaged peer and adding it again is a person's work",
    ),
    Row(
        25,
        "Permission revoked",
        "the server's configuration reloaded without it; without the login",
        "unknown outcome, the violation in log and figures, not ready; ready again with the permission. "
        "Without its login the service ends, and started again waits until it is let in",
        (
            f"{_ONE}::test_nats_25_permission_that_is_revoked_at_run_time_is_an_unknown_outcome_an_error_and_not_ready",
            f"{_ONE}::test_nats_25_service_whose_login_is_taken_away_ends_and_started_again_waits_until_it_is_let_in",
        ),
    ),
    Row(
        26,
        "Expired credentials",
        "an expired certificate loaded by the server; an expired credential at the admin port",
        "nobody new comes in, what is connected stays, renewed files are taken without a restart",
        (
            f"{_ONE}::test_nats_26_expired_certificate_keeps_clients_out_until_renewed_files_are_loaded",
            f"{_ONE}::"
            "test_nats_26_connection_that_is_lost_while_the_certificate_is_expired_comes_back_with_the_renewed_one",
            f"{_CHASSIS}/test_admin.py::test_an_expired_or_forged_credential_is_refused",
        ),
        "No service warns before a certificate expires",
    ),
    Row(
        27,
        "Stalled event loop",
        "the loop blocked for longer than half a lease; a process frozen",
        "no owner any more the moment it wakes up, before anything else runs; nothing is sent late",
        (
            f"{_ONE}::test_nats_27_owner_whose_event_loop_stalls_is_no_owner_when_it_wakes_up",
            f"{_GATEWAY}/shell/test_submissions.py::test_nothing_is_sent_once_the_login_is_somebody_elses",
            f"{_GATEWAY}/shell/test_failures.py::"
            "test_frozen_gateway_that_wakes_up_after_its_lease_sends_nothing_SCN_22",
        ),
        asserted=_NOT_TWICE,
    ),
    Row(
        28,
        "Rolling upgrade",
        "each server in turn: lame duck, restart, wait until current, under load",
        "pauses of seconds, nothing lost or doubled",
        (f"{_THREE}::test_nats_28_rolling_upgrade_under_load_pauses_and_loses_nothing",),
    ),
    Row(
        29,
        "SIGTERM of each service",
        "SIGTERM under load",
        "it finishes what is in hand, gives its lease back and exits 0; nothing lost or doubled",
        (
            f"{_CHASSIS}/test_service.py::test_sigterm_finishes_what_is_in_hand_gives_the_lease_back_and_exits_0",
            f"{_KERNEL}/shell/test_process.py::test_an_orderly_stop_leaves_a_snapshot_and_gives_the_lease_back",
            "tests/chaos/test_platform.py::test_nats_29_sigterm_of_every_service_under_load_loses_and_doubles_nothing",
        ),
    ),
    Row(
        30,
        "The server's wire defaults change",
        "the newer form of acknowledgement subjects switched on",
        "every consumer, replay, bucket and snapshot still works",
        (
            f"{_CONSUMERS}::test_nats_30_servers_newer_form_of_acknowledgements_is_understood_everywhere",
            f"{_CHASSIS}/test_messages.py::test_a_delivery_says_where_it_is_stored_in_both_forms_of_its_reply",
        ),
        asserted=_ONCE,
    ),
    Row(
        31,
        "Replay elsewhere",
        "the whole journal replayed by another process, and by a C program that knows none of our code",
        "the same hash of the state at every point",
        (
            f"{_KERNEL}/core/test_replay.py::test_another_process_comes_to_the_same_digest_after_every_entry_K21",
            f"{_KERNEL}/core/test_replay.py::test_the_same_messages_in_another_partition_give_the_same_entries_K21",
            f"{_KERNEL}/core/test_replay.py::test_replaying_any_journal_gives_the_same_bytes_and_digests_K21",
            "tests/integration/test_journal_export.py::test_a_stranger_checks_what_the_kernel_journaled_K21_C16",
        ),
        "Two compilers by `make libkernel-test`; another processor needs another machine",
        asserted=_CHAINED,
    ),
)
