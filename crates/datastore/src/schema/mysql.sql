CREATE TABLE attested_node_entries (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    spiffe_id varchar(255),
    data_type varchar(255),
    serial_number varchar(255),
    expires_at datetime NULL,
    new_serial_number varchar(255),
    new_expires_at datetime NULL,
    can_reattest boolean,
    agent_version varchar(255),
    PRIMARY KEY (id),
    KEY idx_attested_node_entries_expires_at (expires_at),
    UNIQUE KEY uix_attested_node_entries_spiffe_id (spiffe_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE attested_node_entries_events (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    spiffe_id varchar(255),
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE bundles (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    trust_domain varchar(255) NOT NULL,
    data longblob,
    PRIMARY KEY (id),
    UNIQUE KEY uix_bundles_trust_domain (trust_domain)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE ca_journals (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    data longblob,
    active_x509_authority_id varchar(255),
    active_jwt_authority_id varchar(255),
    PRIMARY KEY (id),
    KEY idx_ca_journals_active_jwt_authority_id (active_jwt_authority_id),
    KEY idx_ca_journals_active_x509_authority_id (active_x509_authority_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE dns_names (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    registered_entry_id int unsigned,
    value varchar(255),
    PRIMARY KEY (id),
    UNIQUE KEY idx_dns_entry (registered_entry_id, value)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE federated_registration_entries (
    bundle_id int unsigned NOT NULL,
    registered_entry_id int unsigned NOT NULL,
    PRIMARY KEY (bundle_id, registered_entry_id),
    KEY idx_federated_registration_entries_registered_entry_id (registered_entry_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE federated_trust_domains (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    trust_domain varchar(255) NOT NULL,
    bundle_endpoint_url varchar(255),
    bundle_endpoint_profile varchar(255),
    endpoint_spiffe_id varchar(255),
    implicit boolean,
    PRIMARY KEY (id),
    UNIQUE KEY uix_federated_trust_domains_trust_domain (trust_domain)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE join_tokens (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    token varchar(255),
    expiry bigint,
    PRIMARY KEY (id),
    UNIQUE KEY uix_join_tokens_token (token)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE migrations (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    version int,
    code_version varchar(255),
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE node_resolver_map_entries (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    spiffe_id varchar(255),
    type varchar(255),
    value varchar(255),
    PRIMARY KEY (id),
    UNIQUE KEY idx_node_resolver_map (spiffe_id, type, value)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE registered_entries (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    entry_id varchar(255),
    spiffe_id varchar(255),
    parent_id varchar(255),
    ttl int,
    admin boolean,
    downstream boolean,
    expiry bigint,
    revision_number bigint,
    store_svid boolean,
    hint varchar(255),
    jwt_svid_ttl int,
    additional_attributes longblob,
    PRIMARY KEY (id),
    KEY idx_registered_entries_expiry (expiry),
    KEY idx_registered_entries_hint (hint),
    KEY idx_registered_entries_parent_id (parent_id),
    KEY idx_registered_entries_spiffe_id (spiffe_id),
    UNIQUE KEY uix_registered_entries_entry_id (entry_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE registered_entries_events (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    entry_id varchar(255),
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
CREATE TABLE selectors (
    id int unsigned NOT NULL AUTO_INCREMENT,
    created_at datetime NULL,
    updated_at datetime NULL,
    registered_entry_id int unsigned,
    type varchar(255),
    value varchar(255),
    PRIMARY KEY (id),
    UNIQUE KEY idx_selector_entry (registered_entry_id, type, value),
    KEY idx_selectors_type_value (type, value)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 ROW_FORMAT=DYNAMIC;
