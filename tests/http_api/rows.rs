//! Which test holds each checkable behaviour of the contract (`http-api.md` section 7).

use std::collections::BTreeSet;
use std::path::Path;

/// A row of the contract, the file of its test, and the test.
#[rustfmt::skip]
const ROWS: [(u16, &str, &str); 116] = [
    (1, "http_api/conventions", "an_unknown_path_is_told_with_a_newline"),
    (2, "http_api/conventions", "options_lists_the_methods"),
    (3, "http_api/conventions", "other_methods_are_refused_head_included"),
    (4, "http_api/conventions", "pretty_indents_by_four_and_ends_with_a_newline"),
    (5, "http_api/conventions", "reads_say_how_fresh_they_are"),
    (6, "http_api/conventions", "reads_say_how_fresh_they_are"),
    (7, "http_api/conventions", "parameters_that_cannot_be_read_are_refused"),
    (8, "http_api/conventions", "parameters_that_cannot_be_read_are_refused"),
    (9, "http_api/places", "empty_tenancy_parameters_mean_the_default"),
    (10, "http_api/conventions", "parameters_that_cannot_be_read_are_refused"),
    (11, "http_api/blocking", "without_a_change_the_wait_ends_with_the_same_index"),
    (12, "http_api/blocking", "a_change_wakes_the_query"),
    (13, "http_api/agent", "a_registration_appears"),
    (14, "http_api/agent", "keys_are_matched_without_case_and_some_by_alias"),
    (15, "http_api/refusal", "first_words_that_clients_know_stand_first"),
    (16, "http_api/refusal", "services_that_break_rules"),
    (17, "http_api/refusal", "fields_that_nothing_reads"),
    (18, "http_api/agent", "what_the_go_client_sends_for_unset_fields_is_taken"),
    (19, "http_api/agent", "keys_are_matched_without_case_and_some_by_alias"),
    (20, "http_api/refusal", "services_that_break_rules"),
    (21, "http_api/refusal", "services_that_break_rules"),
    (22, "http_api/refusal", "checks_that_break_rules"),
    (23, "http_api/refusal", "checks_that_break_rules"),
    (24, "http_api/refusal", "values_of_a_wrong_type"),
    (25, "http_api/agent", "a_ttl_is_a_text_or_a_number_of_nanoseconds"),
    (26, "http_api/refusal", "values_of_a_wrong_type"),
    (27, "http_api/refusal", "checks_that_break_rules"),
    (28, "http_api/agent", "checks_survive_a_registration_that_does_not_name_them"),
    (29, "http_api/sidecar", "it_is_registered_with_checks_of_its_own"),
    (30, "http_api/sidecar", "each_gets_the_lowest_free_port_and_keeps_it"),
    (31, "http_api/sidecar", "an_exhausted_range_is_an_error_of_the_server"),
    (32, "http_api/refusal", "sidecar_blocks_that_break_rules"),
    (33, "http_api/refusal", "sidecar_blocks_that_break_rules"),
    (34, "http_api/sidecar", "its_own_meta_replaces_the_applications"),
    (35, "http_api/sidecar", "it_goes_with_its_application_unless_it_was_registered_alone"),
    (36, "http_api/agent", "deregistering_takes_the_checks_along"),
    (37, "http_api/refusal", "proxies_that_break_rules"),
    (38, "http_api/refusal", "proxies_that_break_rules"),
    (39, "http_api/refusal", "proxies_that_break_rules"),
    (40, "http_api/refusal", "proxies_that_break_rules"),
    (41, "http_api/refusal", "proxies_that_break_rules"),
    (42, "http_api/refusal", "gateways_that_break_rules"),
    (43, "http_api/refusal", "gateways_that_break_rules"),
    (44, "http_api/refusal", "the_federation_mark_is_for_mesh_gateways"),
    (45, "http_api/blocking", "a_hash_is_waited_on_like_an_index"),
    (46, "http_api/blocking", "a_hash_is_waited_on_like_an_index"),
    (47, "http_api/blocking", "a_hash_is_waited_on_like_an_index"),
    (48, "http_api/blocking", "a_hash_is_waited_on_like_an_index"),
    (49, "http_api/agent", "ids_may_hold_slashes"),
    (50, "http_api/agent", "reports_on_other_checks_are_refused"),
    (51, "http_api/agent", "reports_on_other_checks_are_refused"),
    (52, "http_api/checks", "checks_that_break_rules_are_refused"),
    (53, "http_api/agent", "maintenance_puts_a_critical_check_on_the_instance"),
    (54, "http_api/checks", "the_health_of_an_instance_is_a_status_code"),
    (55, "http_api/catalog", "a_registration_makes_node_service_and_checks"),
    (56, "http_api/catalog", "a_node_that_exists_needs_no_address_when_it_is_not_touched"),
    (57, "http_api/catalog", "registrations_that_break_rules_are_errors_of_the_server"),
    (58, "http_api/catalog", "deregistering_removes_a_service_a_check_or_the_node"),
    (59, "http_api/catalog", "what_is_absent_is_an_empty_list_or_null"),
    (60, "http_api/catalog", "what_is_absent_is_an_empty_list_or_null"),
    (61, "http_api/health", "passing_drops_what_does_not_pass"),
    (62, "http_api/health", "what_is_missing_or_absent"),
    (63, "http_api/health", "connect_lists_the_sidecars_of_the_service_alone"),
    (64, "http_api/connect", "there_is_one_active_root"),
    (65, "http_api/connect", "a_leaf_is_issued_for_any_name_and_kept"),
    (66, "http_api/intentions", "a_question_of_authority_must_be_whole"),
    (67, "http_api/intentions", "a_caller_is_authorized_by_intentions_whatever_its_trust_domain"),
    (68, "http_api/config", "what_is_written_is_read_back"),
    (69, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (70, "http_api/config", "snake_case_and_weak_types_are_taken"),
    (71, "http_api/config", "entries_that_cannot_be_decoded_are_the_callers_errors"),
    (72, "http_api/config", "entries_that_cannot_be_decoded_are_the_callers_errors"),
    (73, "http_api/config", "entries_that_cannot_be_decoded_are_the_callers_errors"),
    (74, "http_api/config", "cas_writes_only_over_what_the_caller_saw"),
    (75, "http_api/config", "cas_writes_only_over_what_the_caller_saw"),
    (76, "http_api/config", "absent_entries"),
    (77, "http_api/config", "absent_entries"),
    (78, "http_api/config", "deleting_is_idempotent_and_takes_cas"),
    (79, "http_api/config", "an_entry_that_does_not_fit_the_others_is_an_error_of_the_server"),
    (80, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (81, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (82, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (83, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (84, "http_api/places", "entries_live_in_partitions_and_some_in_namespaces"),
    (85, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (86, "http_api/config", "entries_that_break_rules_are_errors_of_the_server"),
    (87, "http_api/chain", "a_service_without_entries_has_a_default_chain"),
    (88, "http_api/chain", "overrides_count_where_they_change_something"),
    (89, "http_api/chain", "what_makes_no_sense_is_told"),
    (90, "http_api/chain", "what_makes_no_sense_is_told"),
    (91, "http_api/intentions", "what_is_put_for_a_pair_is_a_source_of_the_entry"),
    (92, "http_api/intentions", "an_absent_pair"),
    (93, "http_api/intentions", "deleting_is_idempotent_and_the_last_source_takes_the_entry_along"),
    (94, "http_api/intentions", "what_is_wrong_with_a_pair_is_a_500"),
    (95, "http_api/intentions", "the_intention_of_the_highest_precedence_decides"),
    (96, "http_api/intentions", "matches_are_listed_for_each_name_with_wildcards"),
    (97, "http_api/intentions", "an_id_is_a_uuid"),
    (111, "http_api/conventions", "what_is_off_says_so"),
    (112, "http_api/conventions", "what_is_off_says_so"),
    (119, "http_api/conventions", "the_status_names_this_process"),
    (120, "http_api/gateways", "without_gateways_that_let_others_in_there_is_no_state"),
    (121, "http_api/ui", "a_topology_needs_a_kind"),
    (122, "agent", "a_reload_takes_over_what_files_hold_now_and_keeps_what_came_by_http"),
    (123, "http_api/process", "prometheus_is_off_unless_it_is_asked_for"),
    (124, "http_api/ca_config", "a_state_and_unknown_keys_are_a_400"),
    (125, "http_api/ca_config", "what_breaks_a_rule_or_cannot_be_done_is_a_500"),
    (126, "agent", "entries_of_files_leave_those_that_exist_as_they_are"),
    (127, "cli", "every_wrong_setting_is_told_before_anything_starts"),
    (128, "cli", "validate_accepts_what_the_agent_would_and_tells_the_rest"),
    (129, "connect_envoy", "a_sidecar_is_found_by_its_service"),
    (130, "connect_envoy", "a_gateway_registers_itself_where_it_is_told"),
    (131, "cli", "contradicting_options_of_connect_envoy_are_refused"),
    (132, "connect_envoy", "blocks_and_assignments_of_a_file_say_the_same"),
    (133, "http_api/refusal", "bodies_that_are_too_large"),
    (134, "http_api/conventions", "tokens_are_accepted_and_ignored"),
    (135, "http_api/catalog", "datacenters_are_listed_the_primary_first"),
];

/// Rows about what is not there yet: peerings and access control.
const NOT_YET: [std::ops::RangeInclusive<u16>; 2] = [98..=110, 113..=118];

/// The last row.
const LAST: u16 = 135;

#[test]
fn each_row_has_a_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (row, file, test) in ROWS {
        let text = std::fs::read_to_string(tests.join(file).with_extension("rs")).expect(file);
        assert!(text.contains(&format!("fn {test}()")), "row {row}: there is no test {test} in {file}");
    }
    let tested: BTreeSet<u16> = ROWS.iter().map(|(row, ..)| *row).collect();
    let is_known = |row: &u16| tested.contains(row) != NOT_YET.iter().any(|rows| rows.contains(row));
    assert_eq!((1..=LAST).filter(|row| !is_known(row)).collect::<Vec<_>>(), Vec::<u16>::new());
    assert_eq!((ROWS.len(), tested.last()), (tested.len(), Some(&LAST)));
}
