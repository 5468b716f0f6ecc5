//! Promise: the numbered cases of the contract (proxy J), each with the answer it asks for.
//!
//! [`INDEX`] says where every case is tested, and where we answer differently on purpose, why.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

mod contract {
    mod api;
    mod ca;
    mod guard;
    mod ingress;
    mod injection;
    mod log;
    mod matching;
    mod substitution;
    mod validation;
    mod websocket;
    mod wire;
}

/// A case, or some, and the tests that pin them: `file#function`, several where one sees only a part. What
/// follows the bar is how our answer differs from the case, and why.
const INDEX: &str = "
1 tests/entry.rs#j1_run_and_vault_run_list_the_same_flags
2 tests/entry.rs#j2_a_token_without_an_address_is_refused
3 tests/entry.rs#j3_j7_the_broker_is_asked_once_and_exactly tests/entry.rs#j28_to_j32_the_child_of_direct_gets_the_contracts_environment
4 5 tests/entry.rs#j4_j5_the_vault_comes_from_the_flag_then_the_variable_and_from_nowhere_else
6 tests/entry.rs#j6_ttl_makes_no_sense_with_a_token
7 tests/entry.rs#j3_j7_the_broker_is_asked_once_and_exactly
8 9 10 11 12 13 tests/entry.rs#j8_to_j13_every_answer_to_discover
14 15 16 tests/entry.rs#j14_to_j20_admin_mode_mints_a_token
17 18 19 tests/entry.rs#j17_to_j19_an_expired_login_is_renewed_once_at_a_terminal
20 tests/entry.rs#j14_to_j20_admin_mode_mints_a_token tests/api/sessions.rs#minting_is_checked_in_the_contracts_words
21 tests/api/sessions.rs#minting_is_checked_in_the_contracts_words
22 23 24 src/cli/run/isolation.rs#refusals_are_the_contracts_texts tests/entry.rs#j22_to_j24_isolation_is_judged_before_anything_is_asked
25 tests/entry.rs#j25_every_answer_to_the_ca_request
26 tests/entry.rs#j26_a_broker_that_stops_answering_is_named | with a token the first to find nobody is /discover, with its own text
27 tests/entry.rs#j27_the_port_is_the_brokers_or_the_usual_one
28 29 tests/entry.rs#j28_to_j32_the_child_of_direct_gets_the_contracts_environment | what replaces a client's roots holds the public ones too
30 src/entry/environment.rs#the_proxy_url_is_encoded_as_existing_clients_do src/entry/preflight.rs#the_proxy_is_where_the_api_is | ::1 stands in NO_PROXY always, and before what the operator adds
31 32 src/entry/environment.rs#each_name_occurs_once_and_the_rest_survives tests/entry.rs#j28_to_j32_the_child_of_direct_gets_the_contracts_environment
33 src/entry/environment.rs#the_proxy_url_is_encoded_as_existing_clients_do
34 35 tests/entry.rs#j34_j35_every_end_has_its_code
36 tests/entry.rs#j36_an_agent_gets_its_skill_file_once
37 38 tests/entry.rs#j22_to_j24_isolation_is_judged_before_anything_is_asked | container mode is not in this build and says so
39 tests/contract/ingress.rs#case_039_a_connect_without_a_port_is_refused
40 tests/contract/ingress.rs#case_040_only_connect_and_absolute_http_are_served | https:// is served to loopback clients, since axios sends it
41 tests/contract/ingress.rs#case_041_without_authorization_the_client_is_asked_for_it
42 tests/contract/ingress.rs#case_042_a_bearer_token_names_no_vault src/proxy/gate.rs#tokens
43 tests/contract/ingress.rs#case_043_a_basic_pair_is_token_and_vault src/proxy/gate.rs#tokens
44 tests/contract/ingress.rs#case_044_what_is_no_credential_is_asked_for_again
45 tests/contract/ingress.rs#case_045_a_scoped_token_stays_in_its_vault
46 47 tests/contract/ingress.rs#case_046_case_047_an_agent_reaches_what_it_was_granted
48 tests/contract/ingress.rs#case_048_dead_tokens_and_logins_open_nothing
49 tests/contract/ingress.rs#case_049_hosts_are_checked_before_anything_else | a space ends the target, so the rest is no version: 505
50 tests/contract/ingress.rs#case_050_an_ipv6_target_has_brackets_once
51 tests/contract/ingress.rs#case_051_the_uri_wins_over_the_host_field
52 tests/contract/ingress.rs#case_052_each_request_of_a_connection_is_authenticated
53 tests/contract/ingress.rs#case_053_a_tunnel_goes_to_its_connect_target
54 tests/contract/ingress.rs#case_054_a_tunnel_speaks_http_1_and_nothing_else
55 tests/contract/ingress.rs#case_055_guessing_is_stopped | a good token passes all the same: a fleet behind one address is not locked out by one of its own
56 tests/contract/ingress.rs#case_056_good_tokens_never_count
57 tests/contract/ingress.rs#case_057_loopback_is_exempt | a peer that is no address cannot be told to the limiter
58 tests/contract/ingress.rs#case_058_an_open_websocket_holds_its_slot
59 tests/contract/ingress.rs#case_059_a_429_is_not_marked_as_a_broker_error
60 tests/contract/ingress.rs#case_060_a_limiter_that_is_off_never_says_429
61 tests/contract/ca.rs#case_061_the_root_is_kept_with_its_modes_and_signs_on
62 tests/contract/ca.rs#case_062_a_key_that_does_not_open_switches_the_proxy_off_alone
63 tests/contract/ca.rs#case_063_the_root_says_what_it_is
64 tests/contract/ca.rs#case_064_a_leaf_is_for_its_name_alone
65 tests/contract/ca.rs#case_065_leaves_are_kept_until_shortly_before_their_end src/tls/leaf.rs#the_cache_keeps_what_is_used_and_renews_what_ends
66 tests/contract/ca.rs#case_066_names_that_are_none_get_no_leaf
67 tests/contract/ca.rs#case_067_the_brokers_own_name_stands_beside
68 tests/contract/ca.rs#case_068_the_root_is_served_while_the_proxy_listens
69 tests/contract/matching.rs#case_069_a_host_matches_itself_only | in any case of its letters
70 tests/contract/matching.rs#case_070_a_wildcard_is_one_label
71 tests/contract/matching.rs#case_071_the_longer_path_wins_in_either_order
72 tests/contract/matching.rs#case_072_an_exact_host_beats_a_wildcard_whatever_its_path
73 tests/contract/matching.rs#case_073_a_star_crosses_segments
74 tests/contract/matching.rs#case_074_the_first_declared_wins_a_tie
75 tests/contract/matching.rs#case_075_what_the_path_misses_falls_to_the_host
76 tests/contract/matching.rs#case_076_a_port_is_that_port_and_none_is_any | over plain http a credential goes only where the operator wrote the port
77 tests/contract/matching.rs#case_077_a_port_beats_none_and_an_exact_host_beats_a_port
78 tests/contract/matching.rs#case_078_two_ports_have_two_credentials
79 tests/contract/matching.rs#case_079_a_disabled_service_is_refused_and_never_shadows | only when no enabled service matches: switching one off must not take another along
80 tests/contract/matching.rs#case_080_a_stored_service_without_a_name_gets_one
81 tests/contract/matching.rs#case_081_no_service_is_passthrough_or_a_deny
82 tests/contract/matching.rs#case_082_rules_that_cannot_be_read_are_a_deny
83 tests/contract/matching.rs#case_083_an_unmatched_request_is_left_as_it_is
84 tests/contract/matching.rs#case_084_a_deny_says_what_to_do
85 tests/contract/matching.rs#case_085_the_policy_is_read_by_members_and_written_by_admins
86 tests/contract/validation.rs#case_086_names_are_slugs
87 tests/contract/validation.rs#case_087_a_nameless_service_is_called_after_its_matcher
88 tests/contract/validation.rs#case_088_derived_names_are_numbered_when_taken
89 tests/contract/validation.rs#case_089_paths_are_plain_globs
90 tests/contract/validation.rs#case_090_hosts_are_public_names
91 tests/contract/validation.rs#case_091_the_inline_form_splits_and_joins
92 tests/contract/validation.rs#case_092_a_file_may_not_name_two_ports
93 tests/contract/validation.rs#case_093_each_auth_type_has_its_fields | the list of types ends with two of ours, query and aws-sigv4
94 tests/contract/validation.rs#case_094_names_are_unique_and_an_upsert_names_something
95 tests/contract/validation.rs#case_095_placeholders_cannot_be_ordinary_words
96 tests/contract/validation.rs#case_096_surfaces_are_known_and_named_once
97 tests/contract/injection.rs#case_097_each_auth_type_has_its_form
98 tests/contract/injection.rs#case_098_the_auth_slot_is_ours_alone
99 tests/contract/injection.rs#case_099_other_fields_arrive_as_they_are
100 tests/contract/injection.rs#case_100_fields_of_one_connection_stay_on_it
101 tests/contract/injection.rs#case_101_what_is_meant_for_the_broker_goes_no_further
102 tests/contract/injection.rs#case_102_a_passthrough_service_adds_and_takes_nothing
103 tests/contract/injection.rs#case_103_the_host_field_drops_its_schemes_default_port
104 tests/contract/log.rs#case_104_a_missing_credential_is_named_by_its_keys tests/contract/log.rs#case_104_a_credential_sealed_under_another_key_is_a_missing_one
105 tests/contract/injection.rs#case_105_a_key_may_serve_auth_and_a_substitution | credentials are opened once for all requests, until their vault changes
106 107 tests/contract/injection.rs#case_106_case_107_a_missing_key_shows_nothing_of_the_others | no external store can be attached, so a missing key is missing
108 tests/contract/injection.rs#case_108_an_upstream_that_is_not_trusted_gets_nothing | broker errors are JSON and marked, so that SDKs see whose they are
109 tests/contract/injection.rs#case_109_cookies_of_the_upstream_stay_behind
110 tests/contract/injection.rs#case_110_a_chunked_body_goes_out_with_its_length | up to a window of 64 KiB; a larger one is streamed in chunks
111 tests/contract/injection.rs#case_111_an_empty_body_says_so
112 tests/contract/injection.rs#case_112_a_request_beyond_its_limit_is_refused | nothing is buffered, so there is no limit of a buffer; a streamed body is cut at the request limit
113 tests/contract/injection.rs#case_113_a_response_beyond_its_limit_is_refused_or_cut tests/contract/log.rs#case_113_case_140_a_cut_response_is_a_row_too
114 tests/contract/injection.rs#case_114_pieces_arrive_apart
115 tests/contract/injection.rs#case_115_a_401_comes_back_with_its_body_and_is_asked_for_once tests/oauth.rs#case_115_a_refused_token_is_renewed_once_and_the_request_sent_once_more tests/oauth.rs#case_115_only_oauth_credentials_are_renewed | a static credential is no better the second time, so it is not sent twice
116 tests/contract/injection.rs#case_116_a_redirect_is_the_clients_to_follow
117 tests/contract/substitution.rs#case_117_only_the_listed_surface_is_looked_at
118 tests/contract/substitution.rs#case_118_a_value_cannot_leave_its_segment_or_parameter
119 tests/contract/substitution.rs#case_119_placeholders_are_case_sensitive
120 tests/contract/substitution.rs#case_120_all_are_replaced_and_nothing_else_moves
121 tests/contract/substitution.rs#case_121_a_field_takes_a_value_that_is_a_field_value
122 tests/contract/substitution.rs#case_122_a_form_takes_it_as_a_form_value
123 tests/contract/substitution.rs#case_123_other_bodies_take_it_as_their_type_says
124 tests/contract/log.rs#case_124_a_row_keeps_the_placeholder
125 tests/contract/websocket.rs#case_125_a_websocket_opens_with_our_credential
126 tests/contract/websocket.rs#case_126_an_injected_handshake_field_wins
127 tests/contract/websocket.rs#case_127_a_handshake_that_is_never_answered_times_out | a timeout is 504, a broker error like the others
128 tests/contract/websocket.rs#case_128_text_frames_are_looked_into_and_others_are_not
129 tests/contract/websocket.rs#case_129_only_substitutions_for_websocket_touch_frames
130 tests/contract/guard.rs#case_130_metadata_endpoints_are_never_dialled
131 tests/contract/guard.rs#case_131_private_ranges_wait_for_the_operator | link-local is refused always: it holds the credential endpoints of ECS and EKS too
132 tests/contract/guard.rs#case_132_the_allowlist_opens_what_it_names
133 tests/contract/guard.rs#case_133_a_switch_has_its_words | a word that is neither is refused at the start, not taken for no
134 tests/contract/guard.rs#case_134_networks_are_read_strictly | a network that is none is refused at the start, not skipped
135 tests/contract/guard.rs#case_135_one_bad_address_and_every_disguise_are_refused
136 tests/contract/guard.rs#case_136_a_loopback_origin_sees_nothing_by_default | a refusal of the guard is 403 with a code of its own
137 tests/contract/log.rs#case_137_a_row_says_who_asked_for_what
138 tests/contract/log.rs#case_138_how_the_client_authenticates_is_told_apart
139 tests/contract/log.rs#case_139_no_value_is_ever_logged
140 tests/contract/log.rs#case_140_each_refusal_has_one_row_and_its_code
141 tests/oauth.rs#case_141_requests_share_one_renewal_of_a_key
142 tests/oauth.rs#case_142_a_refresh_token_is_kept_until_another_is_granted
143 tests/oauth.rs#case_143_a_failed_renewal_is_recorded_and_the_old_token_used_to_its_end src/vault/oauth/call.rs#case_143_most_of_4xx_is_permanent | inside its last five minutes the old token is used, since it is still good
144 tests/oauth.rs#case_144_a_credential_that_was_never_connected_says_so
145 tests/oauth.rs#case_145_what_cannot_or_need_not_be_renewed_is_sent_as_it_is
146 tests/oauth.rs#case_146_the_client_proves_itself_the_way_it_was_configured
";

#[test]
fn every_case_is_tested_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for row in INDEX.trim().lines() {
        let words = row.split('|').next().unwrap_or_default().split_whitespace();
        let (numbers, tests): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.bytes().all(|b| b.is_ascii_digit()));
        let numbers: Vec<u16> = numbers.iter().map(|number| number.parse().unwrap()).collect();
        for test in &tests {
            let (file, function) = test.split_once('#').unwrap_or_else(|| panic!("{row}"));
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("no {file}"));
            // At the edge of a file of tests, or one step in, below the code it is about.
            let is_there = ["", "    "]
                .iter()
                .any(|margin| source.contains(&format!("{margin}#[test]\n{margin}fn {function}()")));
            assert!(is_there, "no test {test}");
            if file.starts_with("tests/contract/") {
                let named = numbers.iter().all(|number| function.contains(&format!("case_{number:03}_")));
                assert!(named, "{row}");
            }
        }
        assert!(!tests.is_empty(), "{row}");
        found.extend(numbers);
    }
    assert_eq!(found, (1..=146).collect::<Vec<u16>>());
}
