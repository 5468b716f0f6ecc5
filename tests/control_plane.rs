//! Promise: the numbered cases of the contract (control plane, J), each with the test that pins it.
//!
//! [`INDEX`] says where, and where we answer differently on purpose, why. [`OPEN`] lists what no test pins
//! yet: it may only become shorter. [`ELSEWHERE`] is for cases of what this broker does not have.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A case and the tests that pin it: `file#function`, several where one sees only a part. What follows the
/// bar is how our answer differs from the case, and why.
const INDEX: &str = "
1 tests/api/transport.rs#health_is_for_get_and_head
2 tests/api/transport.rs#every_answer_has_the_security_fields_and_none_allows_other_origins
3 tests/api/transport.rs#the_root_is_served_only_while_the_proxy_listens
4 tests/api/transport.rs#before_there_is_an_account_most_is_closed
5 tests/api/transport.rs#before_there_is_an_account_most_is_closed tests/api/accounts/registration.rs#the_instance_says_who_may_register src/api/mod.rs#a_chosen_address_is_announced_and_https_makes_the_cookie_secure
6 tests/api/transport.rs#bodies_have_a_limit_and_unknown_keys_do_not_matter
7 tests/api/accounts/logins.rs#a_login_is_recorded_with_its_limits_and_where_it_comes_from
8 src/api/mod.rs#a_chosen_address_is_announced_and_https_makes_the_cookie_secure
9 tests/api/accounts/logins.rs#login_tells_nothing_about_accounts
10 tests/api/accounts/logins.rs#a_bearer_wins_over_the_cookie_and_either_may_be_wrong
11 tests/api/accounts/logins.rs#a_bearer_wins_over_the_cookie_and_either_may_be_wrong tests/api/accounts/logins.rs#an_expired_and_an_idle_login_are_told_apart_from_an_unknown_one
12 tests/api/accounts/logins.rs#an_expired_and_an_idle_login_are_told_apart_from_an_unknown_one src/store/sessions.rs#a_login_idles_out_and_ends_after_a_year src/store/sessions.rs#a_login_without_an_idle_limit_does_not_idle_out
13 tests/api/accounts/logins.rs#the_list_shows_live_logins_and_marks_ones_own src/store/logins.rs#the_list_leaves_out_what_has_ended_and_starts_with_the_last_used
14 tests/api/accounts/logins.rs#a_revoked_login_ends_and_only_ones_own_clears_the_cookie src/store/logins.rs#a_login_is_ended_by_its_own_person_only
15 tests/api/accounts/logins.rs#a_use_is_noted_once_a_minute src/store/sessions.rs#a_use_is_noted_once_a_minute_and_never_with_less
16 tests/api/accounts/logins.rs#a_device_label_is_cut_between_characters src/api/routes/auth/mod.rs#device_labels_are_cut_between_characters
17 tests/api/accounts/logins.rs#logout_ends_the_login_and_never_fails
18 tests/api/accounts/limits.rs#a_forwarded_address_counts_only_from_a_trusted_proxy
19 tests/api/accounts/registration.rs#the_first_registration_makes_a_logged_in_owner
20 tests/api/accounts/registration.rs#racing_first_registrations_make_one_owner
21 tests/api/accounts/registration.rs#the_instance_says_who_may_register
22 tests/api/accounts/registration.rs#later_registrations_wait_for_a_code_and_tell_nothing_about_accounts
23 tests/api/accounts/registration.rs#later_registrations_wait_for_a_code_and_tell_nothing_about_accounts
24 tests/api/accounts/verification.rs#a_fourth_pending_code_is_refused_and_resend_does_not_tell
25 tests/api/accounts/verification.rs#a_code_opens_the_account_once tests/api/accounts/verification.rs#ten_wrong_codes_lock_the_address_until_there_is_a_new_one tests/api/accounts/verification.rs#guesses_at_the_same_time_are_counted_too
26 tests/api/accounts/passwords.rs#wrong_reset_codes_lock_known_and_unknown_addresses_alike tests/api/accounts/verification.rs#whoever_asks_for_a_code_is_told_the_same
27 tests/api/accounts/passwords.rs#a_reset_ends_every_login_and_its_token_is_in_the_cookie_alone tests/api/accounts/passwords.rs#wrong_reset_codes_lock_known_and_unknown_addresses_alike
28 tests/api/accounts/passwords.rs#a_changed_password_ends_every_login_but_a_new_one_of_the_same_name tests/api/accounts/passwords.rs#of_two_changes_at_once_one_is_made
29 tests/api/accounts/passwords.rs#a_member_may_go_and_an_owner_may_not
30 tests/api/accounts/logins.rs#a_scoped_token_is_nobody_and_an_agent_is_itself
31 tests/api/sessions.rs#minting_is_checked_in_the_contracts_words
32 tests/api/sessions.rs#minting_is_checked_in_the_contracts_words
33 tests/api/sessions.rs#minting_is_checked_in_the_contracts_words
34 tests/api/sessions.rs#only_members_with_a_grant_may_mint
35 tests/api/sessions.rs#minting_is_checked_in_the_contracts_words tests/api/sessions.rs#tokens_are_listed_without_their_value_and_revoked_at_once
36 tests/api/sessions.rs#tokens_are_listed_without_their_value_and_revoked_at_once
37 tests/api/sessions.rs#what_an_agent_minted_ends_with_its_right_to_mint tests/api/users.rs#what_a_person_had_ends_with_the_person | rotation ends them too, and so does a grant that is taken away: what a lost token minted must not outlive it
38 tests/api/sessions.rs#a_scoped_token_stays_in_its_vault
39 tests/api/credentials.rs#values_are_set_overwritten_and_deleted
40 tests/api/credentials.rs#one_bad_entry_keeps_all_of_them_out
41 tests/api/credentials.rs#values_are_set_overwritten_and_deleted
42 tests/api/credentials.rs#values_are_shown_to_members_only
44 tests/api/credentials.rs#values_come_back_as_they_were_and_lie_nowhere_in_the_clear
45 tests/api/credentials.rs#values_come_back_as_they_were_and_lie_nowhere_in_the_clear tests/oauth.rs#tokens_are_tried_stored_sealed_and_shown_as_bullets tests/api/proposals/made.rs#case_68_numbers_count_up_within_a_vault_and_no_read_shows_a_value
46 tests/oauth.rs#a_secret_stays_with_the_endpoint_it_was_stored_for
47 tests/api/discovery.rs#a_token_sees_services_and_keys_of_its_vault
48 tests/contract/matching.rs#case_080_a_stored_service_without_a_name_gets_one
49 tests/api/discovery.rs#a_login_has_no_vault_and_an_agent_names_one
50 tests/api/discovery.rs#a_login_has_no_vault_and_an_agent_names_one
51 tests/api/discovery.rs#a_token_sees_services_and_keys_of_its_vault
52 tests/api/discovery.rs#a_revoked_agent_is_unknown_at_its_next_call
53 tests/api/services.rs#post_adds_and_replaces_by_name
54 tests/api/services.rs#post_adds_and_replaces_by_name
55 tests/api/services.rs#post_adds_and_replaces_by_name
56 tests/api/services.rs#a_host_that_several_share_names_none_of_them
57 tests/api/services.rs#a_host_that_several_share_names_none_of_them
58 tests/api/services.rs#put_replaces_everything_and_delete_clears tests/contract/matching.rs#case_080_a_stored_service_without_a_name_gets_one
59 tests/api/services.rs#what_is_wrong_is_named_and_nothing_is_stored
60 tests/api/services.rs#put_replaces_everything_and_delete_clears
61 tests/api/services.rs#what_is_wrong_is_named_and_nothing_is_stored tests/contract/validation.rs#case_090_hosts_are_public_names
62 tests/api/services.rs#what_is_wrong_is_named_and_nothing_is_stored tests/contract/validation.rs#case_091_the_inline_form_splits_and_joins tests/contract/validation.rs#case_092_a_file_may_not_name_two_ports | in a file; the API takes a port in the host and ignores the key
63 tests/api/vaults.rs#names_are_slugs
64 tests/contract/validation.rs#case_087_a_nameless_service_is_called_after_its_matcher tests/contract/validation.rs#case_088_derived_names_are_numbered_when_taken
65 tests/contract/validation.rs#case_095_placeholders_cannot_be_ordinary_words tests/contract/validation.rs#case_096_surfaces_are_known_and_named_once
66 tests/api/services.rs#what_is_wrong_is_named_and_nothing_is_stored tests/contract/validation.rs#case_093_each_auth_type_has_its_fields
67 tests/contract/matching.rs#case_070_a_wildcard_is_one_label tests/contract/matching.rs#case_071_the_longer_path_wins_in_either_order tests/contract/matching.rs#case_072_an_exact_host_beats_a_wildcard_whatever_its_path tests/contract/matching.rs#case_073_a_star_crosses_segments tests/contract/matching.rs#case_077_a_port_beats_none_and_an_exact_host_beats_a_port
68 tests/api/proposals/made.rs#case_68_numbers_count_up_within_a_vault_and_no_read_shows_a_value
69 tests/api/proposals/made.rs#case_69_a_proposal_has_one_to_ten_of_each src/vault/proposal/draft.rs#what_is_wrong_is_named
70 tests/api/proposals/made.rs#case_70_a_service_needs_its_keys_stored_or_proposed src/vault/proposal/draft.rs#what_is_wrong_is_named
71 tests/api/proposals/made.rs#case_71_twenty_are_pending_at_most
72 tests/api/proposals/made.rs#case_72_a_deletion_by_host_picks_one_service src/vault/proposal/draft.rs#what_is_wrong_is_named
73 tests/api/proposals/made.rs#case_73_a_nameless_set_takes_the_name_of_its_one_twin src/vault/proposal/draft.rs#what_is_wrong_is_named
74 tests/api/proposals/decided.rs#case_74_a_member_decides_and_a_proxy_does_not
75 tests/api/proposals/decided.rs#case_75_an_approval_needs_every_value
76 tests/api/proposals/decided.rs#case_76_a_decision_is_final
77 tests/api/proposals/decided.rs#case_77_a_deletion_that_fits_no_more_is_a_conflict src/vault/proposal/merge.rs#a_service_that_went_is_missed_and_one_that_was_renamed_is_found
78 tests/api/proposals/decided.rs#case_78_a_renamed_service_is_still_the_one_that_is_meant src/vault/proposal/merge.rs#a_service_that_went_is_missed_and_one_that_was_renamed_is_found
79 tests/api/proposals/decided.rs#case_79_what_a_set_does_not_mention_stays src/vault/proposal/merge.rs#what_an_entry_does_not_mention_stays
80 tests/api/proposals/decided.rs#case_80_deletion_slots_remove_credentials
81 tests/api/proposals/decided.rs#case_81_a_reviewers_look_ends_what_is_a_week_old
82 tests/api/proposals/decided.rs#case_82_an_approval_link_reads_one_pending_proposal_for_a_day
83 tests/api/proposals/decided.rs#case_83_an_approval_and_an_edit_at_once_lose_neither_change
84 tests/people.rs#the_people_of_a_vault_come_and_go tests/api/members.rs#an_owner_comes_in_by_joining tests/api/vaults.rs#a_list_shows_what_the_caller_may_know
85 tests/api/members.rs#a_member_sees_the_vaults_they_were_granted tests/api/vaults.rs#a_list_shows_what_the_caller_may_know
86 tests/api/users.rs#no_access_keeps_a_person_out_of_the_instance_only tests/api/agents.rs#no_access_keeps_an_agent_out_of_the_instance_only
87 tests/api/users.rs#the_instance_keeps_an_owner_of_either_kind
88 tests/api/agents.rs#an_agent_is_made_whole_or_not_at_all
89 tests/api/agents.rs#members_see_their_own_agents_and_manage_no_owners
90 tests/api/agents.rs#members_see_their_own_agents_and_manage_no_owners tests/api/agents.rs#rotation_ends_the_old_token_and_revives
91 tests/api/agents.rs#rotation_ends_the_old_token_and_revives
92 tests/api/agents.rs#a_rotation_with_a_grace_leaves_both_tokens_valid_and_says_until_when tests/api/agents.rs#expired_tokens_do_not_count
93 tests/people.rs#a_renamed_vault_is_named_where_it_was_chosen tests/api/members.rs#a_renamed_vault_is_the_same_vault tests/api/vaults.rs#deleting_a_vault_takes_everything_in_it
94 tests/people.rs#the_people_of_a_vault_come_and_go tests/api/members.rs#anyone_may_leave_but_the_last_admin
95 tests/api/vaults.rs#the_policy_for_unmatched_hosts_is_set_and_reset
96 tests/api/invites.rs#an_invite_is_taken_up_once tests/api/invites.rs#of_concurrent_acceptances_one_succeeds tests/api/invites.rs#a_domain_that_is_not_allowed_neither_gets_an_invite_nor_takes_one_up
97 tests/api/settings.rs#settings_make_a_round_trip_and_are_for_owners | no mail is sent by this broker yet, so there is no broken server to be told of
98 tests/api/logs.rs#a_tail_loses_no_row_of_a_burst
99 tests/api/logs.rs#hosts_without_a_service_are_discovered src/store/hosts.rs#ports_fold_into_one_host_and_the_newest_hint_stays
100 tests/api/settings.rs#limits_change_at_once_and_counts_stay
101 src/rate/failures.rs#failures_are_counted_until_a_success src/rate/mod.rs#looking_records_nothing_and_nobody_is_never_limited src/rate/mod.rs#a_bucket_refills_at_its_rate src/rate/slots.rs#slots_are_freed_by_dropping_them
102 tests/api/settings.rs#limits_change_at_once_and_counts_stay tests/api/settings.rs#the_environment_beats_what_is_stored_and_a_lock_ends_the_discussion tests/api/accounts/limits.rs#the_limit_of_attempts_can_be_switched_off src/rate/tiers/mod.rs#environment_beats_stored_beats_profile
103 src/store/migrate.rs#opening_twice_migrates_once tests/server.rs#what_was_acknowledged_survives_a_kill tests/crash.rs#every_acknowledged_change_survives_two_hundred_kills
104 tests/server.rs#only_the_right_password_opens_the_store tests/maintenance.rs#a_master_password_is_set_changed_and_removed src/store/seal.rs#a_password_opens_what_it_sealed_and_no_other_does src/store/seal.rs#another_password_opens_what_the_old_one_sealed src/store/seal.rs#nothing_opens_that_was_changed_moved_or_sealed_elsewhere
105 tests/store.rs#the_first_data_key_stays_whoever_opens_at_the_same_time
107 tests/server.rs#half_a_root_is_never_made_whole_by_guessing
108 tests/entry.rs#j2_a_token_without_an_address_is_refused tests/entry.rs#j4_j5_the_vault_comes_from_the_flag_then_the_variable_and_from_nowhere_else tests/entry.rs#j6_ttl_makes_no_sense_with_a_token tests/entry.rs#j22_to_j24_isolation_is_judged_before_anything_is_asked tests/cli.rs#agent_mode_wants_its_address_and_its_vault
109 tests/entry.rs#j28_to_j32_the_child_of_direct_gets_the_contracts_environment
110 tests/entry.rs#j25_every_answer_to_the_ca_request tests/entry.rs#j26_a_broker_that_stops_answering_is_named tests/entry.rs#j27_the_port_is_the_brokers_or_the_usual_one
111 tests/entry.rs#j8_to_j13_every_answer_to_discover
112 tests/cli.rs#a_refusal_is_the_brokers_own_words tests/cli.rs#an_expired_login_is_renewed_once_at_a_terminal tests/entry.rs#j17_to_j19_an_expired_login_is_renewed_once_at_a_terminal
113 src/client/state.rs#files_are_private_even_in_a_folder_that_was_not src/client/state.rs#a_session_without_the_optional_keys_loads tests/cli.rs#a_broker_is_set_up_from_nothing
114 tests/cli.rs#the_vault_is_the_nearest_one_named src/cli/operator/broker.rs#flag_environment_project_context
115 tests/server.rs#a_second_server_is_refused_before_anything_is_asked tests/maintenance.rs#what_may_not_be_changed_is_not
";

/// Cases no test pins yet. Whoever pins one takes it out here; nobody adds one.
const OPEN: [u16; 0] = [];

/// Cases of external credential stores, which are for later (P2): a vault of ours has its own credentials.
const ELSEWHERE: [u16; 2] = [43, 106];

#[test]
fn every_case_is_pinned_or_listed_as_open() {
    let mut cases = BTreeSet::new();
    let mut once = |case: u16| assert!(cases.insert(case), "case {case} is there twice");
    OPEN.into_iter().chain(ELSEWHERE).for_each(&mut once);
    let mut last = 0;
    for row in INDEX.trim().lines() {
        let mut words = row.split('|').next().unwrap_or_default().split_whitespace();
        let case: u16 = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{row}"));
        assert!(case > last, "{case} stands behind {last}");
        last = case;
        once(case);
        let tests: Vec<&str> = words.collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            assert!(is_there(test), "case {case}: no test {test}");
        }
    }
    assert_eq!(cases, (1..=115).collect());
}

/// Whether a file has the test: at its edge, or one step in, below the code it is about.
fn is_there(test: &str) -> bool {
    let (file, function) = test.split_once('#').unwrap_or((test, ""));
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    ["", "    "].iter().any(|margin| source.contains(&format!("{margin}#[test]\n{margin}fn {function}()")))
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    assert!(is_there("tests/control_plane.rs#a_test_that_is_not_there_is_missed"));
    assert!(!is_there("tests/control_plane.rs#is_there"));
    assert!(!is_there("tests/nowhere.rs#a_test_that_is_not_there_is_missed"));
}
