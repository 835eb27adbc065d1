--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: attested_node_entries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attested_node_entries (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    spiffe_id text,
    data_type text,
    serial_number text,
    expires_at timestamp with time zone,
    new_serial_number text,
    new_expires_at timestamp with time zone,
    can_reattest boolean,
    agent_version text
);


--
-- Name: attested_node_entries_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attested_node_entries_events (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    spiffe_id text
);


--
-- Name: attested_node_entries_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.attested_node_entries_events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: attested_node_entries_events_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.attested_node_entries_events_id_seq OWNED BY public.attested_node_entries_events.id;


--
-- Name: attested_node_entries_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.attested_node_entries_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: attested_node_entries_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.attested_node_entries_id_seq OWNED BY public.attested_node_entries.id;


--
-- Name: bundles; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.bundles (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    trust_domain text NOT NULL,
    data bytea
);


--
-- Name: bundles_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.bundles_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: bundles_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.bundles_id_seq OWNED BY public.bundles.id;


--
-- Name: ca_journals; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.ca_journals (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    data bytea,
    active_x509_authority_id text,
    active_jwt_authority_id text
);


--
-- Name: ca_journals_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.ca_journals_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: ca_journals_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.ca_journals_id_seq OWNED BY public.ca_journals.id;


--
-- Name: dns_names; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.dns_names (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    registered_entry_id integer,
    value text
);


--
-- Name: dns_names_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.dns_names_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: dns_names_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.dns_names_id_seq OWNED BY public.dns_names.id;


--
-- Name: federated_registration_entries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.federated_registration_entries (
    bundle_id integer NOT NULL,
    registered_entry_id integer NOT NULL
);


--
-- Name: federated_trust_domains; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.federated_trust_domains (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    trust_domain text NOT NULL,
    bundle_endpoint_url text,
    bundle_endpoint_profile text,
    endpoint_spiffe_id text,
    implicit boolean
);


--
-- Name: federated_trust_domains_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.federated_trust_domains_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: federated_trust_domains_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.federated_trust_domains_id_seq OWNED BY public.federated_trust_domains.id;


--
-- Name: join_tokens; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.join_tokens (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    token text,
    expiry bigint
);


--
-- Name: join_tokens_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.join_tokens_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: join_tokens_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.join_tokens_id_seq OWNED BY public.join_tokens.id;


--
-- Name: migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.migrations (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    version integer,
    code_version text
);


--
-- Name: migrations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: migrations_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.migrations_id_seq OWNED BY public.migrations.id;


--
-- Name: node_resolver_map_entries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.node_resolver_map_entries (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    spiffe_id text,
    type text,
    value text
);


--
-- Name: node_resolver_map_entries_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.node_resolver_map_entries_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: node_resolver_map_entries_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.node_resolver_map_entries_id_seq OWNED BY public.node_resolver_map_entries.id;


--
-- Name: registered_entries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.registered_entries (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    entry_id text,
    spiffe_id text,
    parent_id text,
    ttl integer,
    admin boolean,
    downstream boolean,
    expiry bigint,
    revision_number bigint,
    store_svid boolean,
    hint text,
    jwt_svid_ttl integer,
    additional_attributes bytea
);


--
-- Name: registered_entries_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.registered_entries_events (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    entry_id text
);


--
-- Name: registered_entries_events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.registered_entries_events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: registered_entries_events_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.registered_entries_events_id_seq OWNED BY public.registered_entries_events.id;


--
-- Name: registered_entries_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.registered_entries_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: registered_entries_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.registered_entries_id_seq OWNED BY public.registered_entries.id;


--
-- Name: selectors; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.selectors (
    id integer NOT NULL,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    registered_entry_id integer,
    type text,
    value text
);


--
-- Name: selectors_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.selectors_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: selectors_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.selectors_id_seq OWNED BY public.selectors.id;


--
-- Name: attested_node_entries id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attested_node_entries ALTER COLUMN id SET DEFAULT nextval('public.attested_node_entries_id_seq'::regclass);


--
-- Name: attested_node_entries_events id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attested_node_entries_events ALTER COLUMN id SET DEFAULT nextval('public.attested_node_entries_events_id_seq'::regclass);


--
-- Name: bundles id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.bundles ALTER COLUMN id SET DEFAULT nextval('public.bundles_id_seq'::regclass);


--
-- Name: ca_journals id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ca_journals ALTER COLUMN id SET DEFAULT nextval('public.ca_journals_id_seq'::regclass);


--
-- Name: dns_names id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.dns_names ALTER COLUMN id SET DEFAULT nextval('public.dns_names_id_seq'::regclass);


--
-- Name: federated_trust_domains id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.federated_trust_domains ALTER COLUMN id SET DEFAULT nextval('public.federated_trust_domains_id_seq'::regclass);


--
-- Name: join_tokens id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.join_tokens ALTER COLUMN id SET DEFAULT nextval('public.join_tokens_id_seq'::regclass);


--
-- Name: migrations id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations ALTER COLUMN id SET DEFAULT nextval('public.migrations_id_seq'::regclass);


--
-- Name: node_resolver_map_entries id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.node_resolver_map_entries ALTER COLUMN id SET DEFAULT nextval('public.node_resolver_map_entries_id_seq'::regclass);


--
-- Name: registered_entries id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registered_entries ALTER COLUMN id SET DEFAULT nextval('public.registered_entries_id_seq'::regclass);


--
-- Name: registered_entries_events id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registered_entries_events ALTER COLUMN id SET DEFAULT nextval('public.registered_entries_events_id_seq'::regclass);


--
-- Name: selectors id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.selectors ALTER COLUMN id SET DEFAULT nextval('public.selectors_id_seq'::regclass);


--
-- Data for Name: attested_node_entries; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.attested_node_entries (id, created_at, updated_at, spiffe_id, data_type, serial_number, expires_at, new_serial_number, new_expires_at, can_reattest, agent_version) FROM stdin;
3	2026-11-23 03:44:45.856238+00	2026-11-23 03:44:46.317687+00	spiffe://example.org/spire/agent/join_token/fixture-node3	join_token		2036-10-26 03:44:45+00		\N	f	1.15.3
1	2026-11-23 03:44:45.11466+00	2026-11-23 03:45:00.464069+00	spiffe://example.org/spire/agent/join_token/fixture-node1	join_token	197924374142541552695293593302226566034	2036-10-26 03:44:59+00		\N	f	1.15.3
2	2026-11-23 03:44:45.54717+00	2026-11-23 03:45:00.92244+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073	x509pop	143086406733466725930849870478051775121	2036-10-26 03:45:00+00		\N	t	1.15.3
\.


--
-- Data for Name: attested_node_entries_events; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.attested_node_entries_events (id, created_at, updated_at, spiffe_id) FROM stdin;
1	2026-11-23 03:44:45.113932+00	2026-11-23 03:44:45.113932+00	spiffe://example.org/spire/agent/join_token/fixture-node1
2	2026-11-23 03:44:45.115131+00	2026-11-23 03:44:45.115131+00	spiffe://example.org/spire/agent/join_token/fixture-node1
3	2026-11-23 03:44:45.178462+00	2026-11-23 03:44:45.178462+00	spiffe://example.org/spire/agent/join_token/fixture-node1
4	2026-11-23 03:44:45.546794+00	2026-11-23 03:44:45.546794+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073
5	2026-11-23 03:44:45.547377+00	2026-11-23 03:44:45.547377+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073
6	2026-11-23 03:44:45.631971+00	2026-11-23 03:44:45.631971+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073
7	2026-11-23 03:44:45.855799+00	2026-11-23 03:44:45.855799+00	spiffe://example.org/spire/agent/join_token/fixture-node3
8	2026-11-23 03:44:45.856482+00	2026-11-23 03:44:45.856482+00	spiffe://example.org/spire/agent/join_token/fixture-node3
9	2026-11-23 03:44:46.0098+00	2026-11-23 03:44:46.0098+00	spiffe://example.org/spire/agent/join_token/fixture-node3
10	2026-11-23 03:44:46.318053+00	2026-11-23 03:44:46.318053+00	spiffe://example.org/spire/agent/join_token/fixture-node3
11	2026-11-23 03:44:59.759005+00	2026-11-23 03:44:59.759005+00	spiffe://example.org/spire/agent/join_token/fixture-node1
12	2026-11-23 03:45:00.46438+00	2026-11-23 03:45:00.46438+00	spiffe://example.org/spire/agent/join_token/fixture-node1
13	2026-11-23 03:45:00.921939+00	2026-11-23 03:45:00.921939+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073
14	2026-11-23 03:45:00.92268+00	2026-11-23 03:45:00.92268+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073
\.


--
-- Data for Name: bundles; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.bundles (id, created_at, updated_at, trust_domain, data) FROM stdin;
1	2026-11-23 03:44:43.550213+00	2026-11-23 03:44:53.267385+00	spiffe://example.org	\\x0a147370696666653a2f2f6578616d706c652e6f7267128b040a860430820202308201a7a00302010202107c9c66c62d98a3b60b49eff00fce9b08300a06082a8648ce3d0403023050310b3009060355040613025553310f300d060355040a13065350494646453130302e06035504051327313635363336333534323934333238313036393135323434343434393539393836353838343234301e170d3236313132333033343433335a170d3336313132303033343434335a3050310b3009060355040613025553310f300d060355040a13065350494646453130302e060355040513273136353633363335343239343332383130363931353234343434343935393938363538383432343059301306072a8648ce3d020106082a8648ce3d030107034200044e226c1837eefd65e3294c38f2c1d89ea2be362965eca2da818dbe2e6c07a88ba28229b4e07afb05894b21e535561fc72cb6dddb654211f4d3f9e7786b2ad93da3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e0416041482d60a999f4a79f9a69585235243f90f883a9aef301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d0403020349003046022100d6207fd593ad51d36eb0aae75062ccef18aeceebb04aed6c4619482cfb3fdd1a022100997adbeb3d9b00a8e93ff7a031d4bc627e0459e3f1867be193722cadf6d0791810011285040a8204308201fe308201a5a003020102021028337301b53aca2b75bb25915795ecf8300a06082a8648ce3d040302304f310b3009060355040613025553310f300d060355040a1306535049464645312f302d060355040513263533343336323539353833363032333532373736343934343835363439383630343535363732301e170d3236313132333033343434325a170d3336313132303033343435325a304f310b3009060355040613025553310f300d060355040a1306535049464645312f302d0603550405132635333433363235393538333630323335323737363439343438353634393836303435353637323059301306072a8648ce3d020106082a8648ce3d0301070342000457d445804da1b77e3dadafc45588f4ce1c8fd91db9c91649753a8167e1a89f118d6f60e7d9252b9e14a70b486b07e0613286c74a2562407d4e6db3b47265af16a3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e04160414e2a108c994f35e058389a0614bf5a4f4af8edf01301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d04030203470030440220674d54e2ef9c68a1ecbae54d817258b6754127bf71951167df840151e95f4fa102202e25b555deb45d93518f81aa5b685475239de59f9e90f5da046a228b97a29ef21289040a860430820202308201a8a003020102021100d919fc53ac9242ce18afbc5da9f9fc35300a06082a8648ce3d0403023050310b3009060355040613025553310f300d060355040a13065350494646453130302e06035504051327323838353737343030333033333535393634333532363537333333323039373632373537363835301e170d3236313132333033343434325a170d3336313132303033343435325a3050310b3009060355040613025553310f300d060355040a13065350494646453130302e060355040513273238383537373430303330333335353936343335323635373333333230393736323735373638353059301306072a8648ce3d020106082a8648ce3d03010703420004f2e8da1b7eb706bc086e9d401dd8a2206855ea9de8ce39a0696bf95b1638d57896661aaaff32120969806030ed29b464c8351309e0afc611d9f36da90d6fe758a3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e04160414f36db2ecb8edc825a3e52f24aa253592007a91d1301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d04030203480030450220641ab6f0a4ead8bfc02896eed67d5ef57afb75fbaca6559d2494d2729bbc7cd4022100f1c4760c360c40dfcc7671b0408f72e297cda7284afd53edc28300a20c2e779c1a87010a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004e636776fb5f5ad8d42ecf9a0f3f5d6c958fb7fb036daf81bd2ab1d7553affc763acc3e561c66a12a94bfd7281c3bfd13c978ff1090b4454e28b6f00b40a1c7861220535a466546413345744b317a63393964786a574c636d496d4a6d7a704431786218abf3beee0720011a85010a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004c612a2ecaf32631847f7c91b45a3c871ecdf208088b2f0d975035560666d6e1ba405d01c082d68bbf7bc377942124f9e7c465e0854bd19043659dc2495631665122062694d746f52436e5234716830357077305578636a564d384b41394a5158723918b4f3beee071a85010a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004b81a62840d9fcc2949326cdd6e426ebf1191066d99c0289c7ec8af5d451c8bfd9adf2b238b4beb8d9696d10947bd91f504d80c05c75cb2bca9caae034726075c1220777a734b42706933343037357839636d53787665446969416c7441684936726b18b5f3beee072807
2	2026-11-23 03:44:43.989526+00	2026-11-23 03:44:43.989526+00	spiffe://static.test	\\x0a147370696666653a2f2f7374617469632e7465737412c4030ac103308201bd30820162a003020102020165300a06082a8648ce3d0403023034310b3009060355040613025553310f300d060355040a0c06474f4c44454e3114301206035504030c0b7374617469632e746573743020170d3236303130313030303030305a180f32303939303130313030303030305a3034310b3009060355040613025553310f300d060355040a0c06474f4c44454e3114301206035504030c0b7374617469632e746573743059301306072a8648ce3d020106082a8648ce3d03010703420004af0b8263924a83ed97a97b331541ab1fcf64f0e07b00c1744698a7749d1a6495aa491c3ed9550c9b9d27d16678c2073eb1d61288aebb8fcec7d141225b1e0c1ea3633061300f0603551d130101ff040530030101ff300e0603551d0f0101ff040403020106301d0603551d0e04160414c52b4f9931ab2d60b9b10031ec4fbad6cf10b73e301f0603551d110418301686147370696666653a2f2f7374617469632e74657374300a06082a8648ce3d0403020349003046022100e12d551e75a5531c8c2b0990744302bfea8b7367bb105ef380be80f38e02f39c022100f0444ace525b537e581b451d0edb01da37a2a4ebdd45e30d07c326a1329d8ad01aba020aa60230820122300d06092a864886f70d01010105000382010f003082010a0282010100a030c4dd5f1bed7f3b2456dc034ef15e10b04ccc3809f2729e1b9fed6531799386499d60f92cc621c03d3fff6ba7a1888ebc9e80f76a3720c832b4a0a663234a41cc65782969bd8d296e41420fd4e3975ca30ef41fe787d2551e8544e66a59c9daa73a5b22fb43ef631454ee4c4a346955069a885d7b779bfff2288581761c71c5bf98a69fe28a57e1b154e793b318cf90e994782c3205cee37c99d791caf55af044255dd05c9be908a72ffbb80a90228be942f9a919f815a8609f36712c835ed231e2ef8928018f1ec9b401bc09f0e549f1fa6c150daeba97adcf76ca7921edb3ec54182e1934814240aefb093e691f9769e098fbbbb648e8050d28a459a8250203010001120f7374617469632e746573742d7273611a6d0a5b3059301306072a8648ce3d020106082a8648ce3d030107034200049b1930a7cc307a315c2845e091c65de386730f352036d0f5a461ee0144cddeaae9b088f787a7c8e0cc48b77dc0e5e5e6af474166170d54ab885c5957aa3b6d2e120e7374617469632e746573742d656320d8042807
3	2026-11-23 03:44:44.165755+00	2026-11-23 03:44:44.165755+00	spiffe://static2.test	\\x0a157370696666653a2f2f737461746963322e7465737412c7030ac403308201c030820165a003020102020166300a06082a8648ce3d0403023035310b3009060355040613025553310f300d060355040a0c06474f4c44454e3115301306035504030c0c737461746963322e746573743020170d3236303130313030303030305a180f32303939303130313030303030305a3035310b3009060355040613025553310f300d060355040a0c06474f4c44454e3115301306035504030c0c737461746963322e746573743059301306072a8648ce3d020106082a8648ce3d030107034200048c0b05388d1eca9a33fe8c542f5dbc2c83b2c7647b23bd3f7d9af03593a197587bc6d60fe698abc783ac5ebf130a52f4ab44b12b2d952b8f6f10a3fd64e7367fa3643062300f0603551d130101ff040530030101ff300e0603551d0f0101ff040403020106301d0603551d0e04160414c55177ba5783740ad3b3f584c6112ef6692b726430200603551d110419301786157370696666653a2f2f737461746963322e74657374300a06082a8648ce3d040302034900304602210087b2252ed0048eb71843504265fe55df9edc95ea4d65f069b5a5ef2aad16f35c0221008b99995704baa7ed184de81ce258016f85203828b60078cbcf87a9d3d91066d7
4	2026-11-23 03:44:44.61732+00	2026-11-23 03:44:44.61732+00	spiffe://static3.test	\\x0a157370696666653a2f2f737461746963332e7465737412c6030ac303308201bf30820165a003020102020167300a06082a8648ce3d0403023035310b3009060355040613025553310f300d060355040a0c06474f4c44454e3115301306035504030c0c737461746963332e746573743020170d3236303130313030303030305a180f32303939303130313030303030305a3035310b3009060355040613025553310f300d060355040a0c06474f4c44454e3115301306035504030c0c737461746963332e746573743059301306072a8648ce3d020106082a8648ce3d0301070342000412a8448f83bfbd769bcb6fcc28b4bead21c7a7236a38791579f9a2a5331343db2f3fea891a974c633bd301e0121b663741c45dc555185441c71beec83b5e9a60a3643062300f0603551d130101ff040530030101ff300e0603551d0f0101ff040403020106301d0603551d0e04160414954d182b9b0ef8f29bf79e914de9b19db00dfd1830200603551d110419301786157370696666653a2f2f737461746963332e74657374300a06082a8648ce3d04030203480030450220083c245e1b4ac218f7cf53f6d68cce7c18c99562d7c16a429ea3a5ae743fb157022100940c226eccefaaaa0ea1855e3d71caed42bd44c32f24db1d545caaca9bf9e3561a6e0a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004f6152d05e2822c15fa30b29c8fbdee8e39b5e59a8b41493222873c7eecf0d5c26971bf800676bb79a9cc16b034ef853ee6cbfa47ea578d1994674ebeddd172db120f737461746963332e746573742d656320d8042807
\.


--
-- Data for Name: ca_journals; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.ca_journals (id, created_at, updated_at, data, active_x509_authority_id, active_jwt_authority_id) FROM stdin;
1	2026-11-23 03:44:43.551467+00	2026-11-23 03:44:53.295422+00	\\x0ac4040a014110abed8ed8061a860430820202308201a7a00302010202107c9c66c62d98a3b60b49eff00fce9b08300a06082a8648ce3d0403023050310b3009060355040613025553310f300d060355040a13065350494646453130302e06035504051327313635363336333534323934333238313036393135323434343434393539393836353838343234301e170d3236313132333033343433335a170d3336313132303033343434335a3050310b3009060355040613025553310f300d060355040a13065350494646453130302e060355040513273136353633363335343239343332383130363931353234343434343935393938363538383432343059301306072a8648ce3d020106082a8648ce3d030107034200044e226c1837eefd65e3294c38f2c1d89ea2be362965eca2da818dbe2e6c07a88ba28229b4e07afb05894b21e535561fc72cb6dddb654211f4d3f9e7786b2ad93da3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e0416041482d60a999f4a79f9a69585235243f90f883a9aef301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d0403020349003046022100d6207fd593ad51d36eb0aae75062ccef18aeceebb04aed6c4619482cfb3fdd1a022100997adbeb3d9b00a8e93ff7a031d4bc627e0459e3f1867be193722cadf6d07918280432283832643630613939396634613739663961363935383532333532343366393066383833613961656638abf3beee070ac0040a014210b4ed8ed8061a8204308201fe308201a5a003020102021028337301b53aca2b75bb25915795ecf8300a06082a8648ce3d040302304f310b3009060355040613025553310f300d060355040a1306535049464645312f302d060355040513263533343336323539353833363032333532373736343934343835363439383630343535363732301e170d3236313132333033343434325a170d3336313132303033343435325a304f310b3009060355040613025553310f300d060355040a1306535049464645312f302d0603550405132635333433363235393538333630323335323737363439343438353634393836303435353637323059301306072a8648ce3d020106082a8648ce3d0301070342000457d445804da1b77e3dadafc45588f4ce1c8fd91db9c91649753a8167e1a89f118d6f60e7d9252b9e14a70b486b07e0613286c74a2562407d4e6db3b47265af16a3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e04160414e2a108c994f35e058389a0614bf5a4f4af8edf01301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d04030203470030440220674d54e2ef9c68a1ecbae54d817258b6754127bf71951167df840151e95f4fa102202e25b555deb45d93518f81aa5b685475239de59f9e90f5da046a228b97a29ef2280332286532613130386339393466333565303538333839613036313462663561346634616638656466303138b4f3beee070ac4040a014110b4ed8ed8061a860430820202308201a8a003020102021100d919fc53ac9242ce18afbc5da9f9fc35300a06082a8648ce3d0403023050310b3009060355040613025553310f300d060355040a13065350494646453130302e06035504051327323838353737343030333033333535393634333532363537333333323039373632373537363835301e170d3236313132333033343434325a170d3336313132303033343435325a3050310b3009060355040613025553310f300d060355040a13065350494646453130302e060355040513273238383537373430303330333335353936343335323635373333333230393736323735373638353059301306072a8648ce3d020106082a8648ce3d03010703420004f2e8da1b7eb706bc086e9d401dd8a2206855ea9de8ce39a0696bf95b1638d57896661aaaff32120969806030ed29b464c8351309e0afc611d9f36da90d6fe758a3633061300e0603551d0f0101ff040403020106300f0603551d130101ff040530030101ff301d0603551d0e04160414f36db2ecb8edc825a3e52f24aa253592007a91d1301f0603551d110418301686147370696666653a2f2f6578616d706c652e6f7267300a06082a8648ce3d04030203480030450220641ab6f0a4ead8bfc02896eed67d5ef57afb75fbaca6559d2494d2729bbc7cd4022100f1c4760c360c40dfcc7671b0408f72e297cda7284afd53edc28300a20c2e779c280232286633366462326563623865646338323561336535326632346161323533353932303037613931643138b4f3beee0712b2010a014110abed8ed80618abf3beee072220535a466546413345744b317a63393964786a574c636d496d4a6d7a70443178622a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004e636776fb5f5ad8d42ecf9a0f3f5d6c958fb7fb036daf81bd2ab1d7553affc763acc3e561c66a12a94bfd7281c3bfd13c978ff1090b4454e28b6f00b40a1c78630043a20535a466546413345744b317a63393964786a574c636d496d4a6d7a704431786212b2010a014210b4ed8ed80618b4f3beee07222062694d746f52436e5234716830357077305578636a564d384b41394a515872392a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004c612a2ecaf32631847f7c91b45a3c871ecdf208088b2f0d975035560666d6e1ba405d01c082d68bbf7bc377942124f9e7c465e0854bd19043659dc249563166530033a2062694d746f52436e5234716830357077305578636a564d384b41394a5158723912b2010a014110b5ed8ed80618b5f3beee072220777a734b42706933343037357839636d53787665446969416c7441684936726b2a5b3059301306072a8648ce3d020106082a8648ce3d03010703420004b81a62840d9fcc2949326cdd6e426ebf1191066d99c0289c7ec8af5d451c8bfd9adf2b238b4beb8d9696d10947bd91f504d80c05c75cb2bca9caae034726075c30023a20777a734b42706933343037357839636d53787665446969416c7441684936726b	e2a108c994f35e058389a0614bf5a4f4af8edf01	
\.


--
-- Data for Name: dns_names; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.dns_names (id, created_at, updated_at, registered_entry_id, value) FROM stdin;
1	2026-11-23 03:44:46.42848+00	2026-11-23 03:44:46.42848+00	3	web.example.org
2	2026-11-23 03:44:46.430927+00	2026-11-23 03:44:46.430927+00	4	c.example.org
3	2026-11-23 03:44:46.431112+00	2026-11-23 03:44:46.431112+00	4	a.example.org
4	2026-11-23 03:44:46.431252+00	2026-11-23 03:44:46.431252+00	4	b.example.org
5	2026-11-23 03:44:46.431388+00	2026-11-23 03:44:46.431388+00	4	*.wild.example.org
6	2026-11-23 03:44:46.47862+00	2026-11-23 03:44:46.47862+00	25	node2.example.org
7	2026-11-23 03:44:46.492491+00	2026-11-23 03:44:46.492491+00	32	x.example.org
\.


--
-- Data for Name: federated_registration_entries; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.federated_registration_entries (bundle_id, registered_entry_id) FROM stdin;
2	5
2	6
3	6
4	6
2	29
3	32
\.


--
-- Data for Name: federated_trust_domains; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.federated_trust_domains (id, created_at, updated_at, trust_domain, bundle_endpoint_url, bundle_endpoint_profile, endpoint_spiffe_id, implicit) FROM stdin;
1	2026-11-23 03:44:44.166206+00	2026-11-23 03:44:44.166206+00	static2.test	https://static2.test:8443/bundle	https_spiffe	spiffe://static2.test/spire/server	f
2	2026-11-23 03:44:44.353332+00	2026-11-23 03:44:44.353332+00	static3.test	https://static3.test/	https_web		f
3	2026-11-23 03:44:44.778526+00	2026-11-23 03:44:44.778526+00	nobundle.test	https://nobundle.test/	https_web		f
\.


--
-- Data for Name: join_tokens; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.join_tokens (id, created_at, updated_at, token, expiry) FROM stdin;
3	2026-11-23 03:44:47.036383+00	2026-11-23 03:44:47.036383+00	unused-token-1	3795405487
4	2026-11-23 03:44:47.038322+00	2026-11-23 03:44:47.038322+00	unused-token-2	3795405487
\.


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.migrations (id, created_at, updated_at, version, code_version) FROM stdin;
1	2026-11-23 03:44:43.494971+00	2026-11-23 03:44:43.494971+00	25	1.15.3
\.


--
-- Data for Name: node_resolver_map_entries; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.node_resolver_map_entries (id, created_at, updated_at, spiffe_id, type, value) FROM stdin;
4	2026-11-23 03:45:00.921421+00	2026-11-23 03:45:00.921421+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073	x509pop	ca:fingerprint:05e04cb5c97713d112ebf268e01f8bdd89b9a819
5	2026-11-23 03:45:00.921695+00	2026-11-23 03:45:00.921695+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073	x509pop	serialnumber:d3
6	2026-11-23 03:45:00.921839+00	2026-11-23 03:45:00.921839+00	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073	x509pop	subject:cn:node1
\.


--
-- Data for Name: registered_entries; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.registered_entries (id, created_at, updated_at, entry_id, spiffe_id, parent_id, ttl, admin, downstream, expiry, revision_number, store_svid, hint, jwt_svid_ttl, additional_attributes) FROM stdin;
1	2026-11-23 03:44:45.711377+00	2026-11-23 03:44:45.711377+00	8c3f6027-6ca8-401e-9661-09936e2a8c94	spiffe://example.org/alias/node3	spiffe://example.org/spire/agent/join_token/fixture-node3	0	f	f	0	0	f		0	\N
3	2026-11-23 03:44:46.428012+00	2026-11-23 03:44:46.428012+00	fix-02	spiffe://example.org/web/deep/path	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
4	2026-11-23 03:44:46.430341+00	2026-11-23 03:44:46.430341+00	fix-03	spiffe://example.org/dns	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
5	2026-11-23 03:44:46.433326+00	2026-11-23 03:44:46.433326+00	fix-04	spiffe://example.org/fed1	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
6	2026-11-23 03:44:46.435737+00	2026-11-23 03:44:46.435737+00	fix-05	spiffe://example.org/fed2	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
7	2026-11-23 03:44:46.438455+00	2026-11-23 03:44:46.438455+00	fix-06	spiffe://example.org/admin	spiffe://example.org/spire/agent/join_token/fixture-node1	0	t	f	0	0	f		0	\N
8	2026-11-23 03:44:46.440502+00	2026-11-23 03:44:46.440502+00	fix-07	spiffe://example.org/downstream	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	t	0	0	f		0	\N
9	2026-11-23 03:44:46.442356+00	2026-11-23 03:44:46.442356+00	fix-08	spiffe://example.org/hint/internal	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f	internal	0	\N
10	2026-11-23 03:44:46.444409+00	2026-11-23 03:44:46.444409+00	fix-09	spiffe://example.org/hint/external	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f	external é <&>	0	\N
11	2026-11-23 03:44:46.446267+00	2026-11-23 03:44:46.446267+00	fix-10	spiffe://example.org/ttl/short	spiffe://example.org/spire/agent/join_token/fixture-node1	60	f	f	0	0	f		30	\N
12	2026-11-23 03:44:46.448403+00	2026-11-23 03:44:46.448403+00	fix-11	spiffe://example.org/ttl/x509	spiffe://example.org/spire/agent/join_token/fixture-node1	86400	f	f	0	0	f		0	\N
13	2026-11-23 03:44:46.450386+00	2026-11-23 03:44:46.450386+00	fix-12	spiffe://example.org/ttl/jwt	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		3600	\N
14	2026-11-23 03:44:46.45232+00	2026-11-23 03:44:46.45232+00	fix-13	spiffe://example.org/expires	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	4102444800	0	f		0	\N
15	2026-11-23 03:44:46.459958+00	2026-11-23 03:44:46.459958+00	fix-14	spiffe://example.org/store	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	t		0	\N
16	2026-11-23 03:44:46.461866+00	2026-11-23 03:44:46.461866+00	fix-15	spiffe://example.org/two-selectors	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
17	2026-11-23 03:44:46.46399+00	2026-11-23 03:44:46.46399+00	fix-16	spiffe://example.org/five-selectors	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
18	2026-11-23 03:44:46.466091+00	2026-11-23 03:44:46.466091+00	fix-17	spiffe://example.org/no-prefetch	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\\x0801
19	2026-11-23 03:44:46.467916+00	2026-11-23 03:44:46.467916+00	fix-18	spiffe://example.org/jti	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\\x1001
20	2026-11-23 03:44:46.469571+00	2026-11-23 03:44:46.469571+00	fix-19	spiffe://example.org/both-attributes	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\\x08011001
21	2026-11-23 03:44:46.471442+00	2026-11-23 03:44:46.471442+00	fix-20	spiffe://example.org/alias/cluster	spiffe://example.org/spire/server	0	f	f	0	0	f		0	\N
22	2026-11-23 03:44:46.473071+00	2026-11-23 03:44:46.473071+00	fix-21	spiffe://example.org/alias/unmatched	spiffe://example.org/spire/server	0	f	f	0	0	f		0	\N
23	2026-11-23 03:44:46.474597+00	2026-11-23 03:44:46.474597+00	fix-22	spiffe://example.org/under-alias/cluster	spiffe://example.org/alias/cluster	0	f	f	0	0	f		0	\N
24	2026-11-23 03:44:46.476356+00	2026-11-23 03:44:46.476356+00	fix-23	spiffe://example.org/under-alias/node3	spiffe://example.org/alias/node3	0	f	f	0	0	f		0	\N
25	2026-11-23 03:44:46.478242+00	2026-11-23 03:44:46.478242+00	fix-24	spiffe://example.org/on-node2	spiffe://example.org/spire/agent/x509pop/4c715162010db8c8b7b7dc7336ddf65c3b51f073	0	f	f	0	0	f		0	\N
26	2026-11-23 03:44:46.48024+00	2026-11-23 03:44:46.48024+00	fix-25	spiffe://example.org/on-banned	spiffe://example.org/spire/agent/join_token/fixture-node3	0	f	f	0	0	f		0	\N
27	2026-11-23 03:44:46.482059+00	2026-11-23 03:44:46.482059+00	fix-26	spiffe://example.org/child-of-web	spiffe://example.org/web	0	f	f	0	0	f		0	\N
28	2026-11-23 03:44:46.483856+00	2026-11-23 03:44:46.483856+00	fix-27	spiffe://example.org/root-workload	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
29	2026-11-23 03:44:46.485561+00	2026-11-23 03:44:46.485561+00	fix-28	spiffe://example.org/root-workload-hint	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f	root	0	\N
30	2026-11-23 03:44:46.488212+00	2026-11-23 03:44:46.488212+00	fix-29	spiffe://example.org/UPPER.case_and-dots	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
31	2026-11-23 03:44:46.489993+00	2026-11-23 03:44:46.489993+00	fix-30	spiffe://example.org/unicode-selector	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
32	2026-11-23 03:44:46.491833+00	2026-11-23 03:44:46.491833+00	fix-31	spiffe://example.org/web	spiffe://example.org/spire/agent/join_token/fixture-node1	1	t	t	4102444801	0	f	everything	2	\\x0801
33	2026-11-23 03:44:46.613302+00	2026-11-23 03:44:46.613302+00	882fa69a-bd8b-4d34-a068-94451cd71c1d	spiffe://example.org/generated-id	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	0	f		0	\N
2	2026-11-23 03:44:46.42556+00	2026-11-23 03:44:46.723005+00	fix-01	spiffe://example.org/web	spiffe://example.org/spire/agent/join_token/fixture-node1	0	f	f	0	2	f	two	0	\N
35	2026-11-23 03:44:47.039674+00	2026-11-23 03:44:47.039674+00	150b1b95-4e07-4489-9c93-123f74768499	spiffe://example.org/alias/from-token	spiffe://example.org/spire/agent/join_token/unused-token-2	0	f	f	0	0	f		0	\N
\.


--
-- Data for Name: registered_entries_events; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.registered_entries_events (id, created_at, updated_at, entry_id) FROM stdin;
1	2026-11-23 03:44:45.734797+00	2026-11-23 03:44:45.734797+00	8c3f6027-6ca8-401e-9661-09936e2a8c94
2	2026-11-23 03:44:46.4268+00	2026-11-23 03:44:46.4268+00	fix-01
3	2026-11-23 03:44:46.42933+00	2026-11-23 03:44:46.42933+00	fix-02
4	2026-11-23 03:44:46.432202+00	2026-11-23 03:44:46.432202+00	fix-03
5	2026-11-23 03:44:46.434705+00	2026-11-23 03:44:46.434705+00	fix-04
6	2026-11-23 03:44:46.437414+00	2026-11-23 03:44:46.437414+00	fix-05
7	2026-11-23 03:44:46.439497+00	2026-11-23 03:44:46.439497+00	fix-06
8	2026-11-23 03:44:46.441381+00	2026-11-23 03:44:46.441381+00	fix-07
9	2026-11-23 03:44:46.443432+00	2026-11-23 03:44:46.443432+00	fix-08
10	2026-11-23 03:44:46.445323+00	2026-11-23 03:44:46.445323+00	fix-09
11	2026-11-23 03:44:46.447396+00	2026-11-23 03:44:46.447396+00	fix-10
12	2026-11-23 03:44:46.4494+00	2026-11-23 03:44:46.4494+00	fix-11
13	2026-11-23 03:44:46.451387+00	2026-11-23 03:44:46.451387+00	fix-12
14	2026-11-23 03:44:46.453186+00	2026-11-23 03:44:46.453186+00	fix-13
15	2026-11-23 03:44:46.460909+00	2026-11-23 03:44:46.460909+00	fix-14
16	2026-11-23 03:44:46.462838+00	2026-11-23 03:44:46.462838+00	fix-15
17	2026-11-23 03:44:46.46523+00	2026-11-23 03:44:46.46523+00	fix-16
18	2026-11-23 03:44:46.467046+00	2026-11-23 03:44:46.467046+00	fix-17
19	2026-11-23 03:44:46.468754+00	2026-11-23 03:44:46.468754+00	fix-18
20	2026-11-23 03:44:46.470441+00	2026-11-23 03:44:46.470441+00	fix-19
21	2026-11-23 03:44:46.472322+00	2026-11-23 03:44:46.472322+00	fix-20
22	2026-11-23 03:44:46.473858+00	2026-11-23 03:44:46.473858+00	fix-21
23	2026-11-23 03:44:46.475577+00	2026-11-23 03:44:46.475577+00	fix-22
24	2026-11-23 03:44:46.477412+00	2026-11-23 03:44:46.477412+00	fix-23
25	2026-11-23 03:44:46.479462+00	2026-11-23 03:44:46.479462+00	fix-24
26	2026-11-23 03:44:46.481047+00	2026-11-23 03:44:46.481047+00	fix-25
27	2026-11-23 03:44:46.483117+00	2026-11-23 03:44:46.483117+00	fix-26
28	2026-11-23 03:44:46.484665+00	2026-11-23 03:44:46.484665+00	fix-27
29	2026-11-23 03:44:46.487145+00	2026-11-23 03:44:46.487145+00	fix-28
30	2026-11-23 03:44:46.489255+00	2026-11-23 03:44:46.489255+00	fix-29
31	2026-11-23 03:44:46.491005+00	2026-11-23 03:44:46.491005+00	fix-30
32	2026-11-23 03:44:46.493008+00	2026-11-23 03:44:46.493008+00	fix-31
33	2026-11-23 03:44:46.615019+00	2026-11-23 03:44:46.615019+00	882fa69a-bd8b-4d34-a068-94451cd71c1d
34	2026-11-23 03:44:46.663805+00	2026-11-23 03:44:46.663805+00	fix-01
35	2026-11-23 03:44:46.724664+00	2026-11-23 03:44:46.724664+00	fix-01
36	2026-11-23 03:44:46.898224+00	2026-11-23 03:44:46.898224+00	fix-deleted
37	2026-11-23 03:44:46.991766+00	2026-11-23 03:44:46.991766+00	fix-deleted
38	2026-11-23 03:44:47.041023+00	2026-11-23 03:44:47.041023+00	150b1b95-4e07-4489-9c93-123f74768499
\.


--
-- Data for Name: selectors; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.selectors (id, created_at, updated_at, registered_entry_id, type, value) FROM stdin;
1	2026-11-23 03:44:45.721606+00	2026-11-23 03:44:45.721606+00	1	spiffe_id	spiffe://example.org/spire/agent/join_token/fixture-node3
3	2026-11-23 03:44:46.428363+00	2026-11-23 03:44:46.428363+00	3	unix	uid:2
4	2026-11-23 03:44:46.430743+00	2026-11-23 03:44:46.430743+00	4	unix	uid:3
5	2026-11-23 03:44:46.434033+00	2026-11-23 03:44:46.434033+00	5	unix	uid:4
6	2026-11-23 03:44:46.436713+00	2026-11-23 03:44:46.436713+00	6	unix	uid:5
7	2026-11-23 03:44:46.438858+00	2026-11-23 03:44:46.438858+00	7	unix	uid:6
8	2026-11-23 03:44:46.44084+00	2026-11-23 03:44:46.44084+00	8	unix	uid:7
9	2026-11-23 03:44:46.442826+00	2026-11-23 03:44:46.442826+00	9	unix	uid:8
10	2026-11-23 03:44:46.44475+00	2026-11-23 03:44:46.44475+00	10	unix	uid:9
11	2026-11-23 03:44:46.446694+00	2026-11-23 03:44:46.446694+00	11	unix	uid:10
12	2026-11-23 03:44:46.448749+00	2026-11-23 03:44:46.448749+00	12	unix	uid:11
13	2026-11-23 03:44:46.450788+00	2026-11-23 03:44:46.450788+00	13	unix	uid:12
14	2026-11-23 03:44:46.452656+00	2026-11-23 03:44:46.452656+00	14	unix	uid:13
15	2026-11-23 03:44:46.46027+00	2026-11-23 03:44:46.46027+00	15	aws_secretsmanager	secretname:fixture
16	2026-11-23 03:44:46.460389+00	2026-11-23 03:44:46.460389+00	15	aws_secretsmanager	kmskeyid:k1
17	2026-11-23 03:44:46.462148+00	2026-11-23 03:44:46.462148+00	16	unix	uid:15
18	2026-11-23 03:44:46.462256+00	2026-11-23 03:44:46.462256+00	16	unix	gid:15
19	2026-11-23 03:44:46.46427+00	2026-11-23 03:44:46.46427+00	17	k8s	ns:default
20	2026-11-23 03:44:46.464381+00	2026-11-23 03:44:46.464381+00	17	k8s	sa:app
21	2026-11-23 03:44:46.464473+00	2026-11-23 03:44:46.464473+00	17	k8s	pod-label:app:web
22	2026-11-23 03:44:46.464559+00	2026-11-23 03:44:46.464559+00	17	k8s	container-name:c
23	2026-11-23 03:44:46.46464+00	2026-11-23 03:44:46.46464+00	17	k8s	pod-image:registry/x@sha256:ab
24	2026-11-23 03:44:46.466368+00	2026-11-23 03:44:46.466368+00	18	unix	uid:17
25	2026-11-23 03:44:46.468221+00	2026-11-23 03:44:46.468221+00	19	unix	uid:18
26	2026-11-23 03:44:46.469865+00	2026-11-23 03:44:46.469865+00	20	unix	uid:19
27	2026-11-23 03:44:46.471787+00	2026-11-23 03:44:46.471787+00	21	x509pop	subject:cn:node1
28	2026-11-23 03:44:46.473333+00	2026-11-23 03:44:46.473333+00	22	k8s_psat	cluster:none
29	2026-11-23 03:44:46.475031+00	2026-11-23 03:44:46.475031+00	23	unix	uid:22
30	2026-11-23 03:44:46.476739+00	2026-11-23 03:44:46.476739+00	24	unix	uid:23
31	2026-11-23 03:44:46.47851+00	2026-11-23 03:44:46.47851+00	25	unix	uid:0
32	2026-11-23 03:44:46.48051+00	2026-11-23 03:44:46.48051+00	26	unix	uid:25
33	2026-11-23 03:44:46.482507+00	2026-11-23 03:44:46.482507+00	27	unix	uid:26
34	2026-11-23 03:44:46.484134+00	2026-11-23 03:44:46.484134+00	28	unix	uid:0
35	2026-11-23 03:44:46.486197+00	2026-11-23 03:44:46.486197+00	29	unix	uid:0
36	2026-11-23 03:44:46.486322+00	2026-11-23 03:44:46.486322+00	29	unix	gid:0
37	2026-11-23 03:44:46.488556+00	2026-11-23 03:44:46.488556+00	30	docker	label:com.example:v1
38	2026-11-23 03:44:46.490278+00	2026-11-23 03:44:46.490278+00	31	docker	label:name:ümläut
39	2026-11-23 03:44:46.492376+00	2026-11-23 03:44:46.492376+00	32	unix	uid:1001
40	2026-11-23 03:44:46.61395+00	2026-11-23 03:44:46.61395+00	33	unix	user:gen
42	2026-11-23 03:44:46.723313+00	2026-11-23 03:44:46.723313+00	2	unix	uid:1
44	2026-11-23 03:44:47.040172+00	2026-11-23 03:44:47.040172+00	35	spiffe_id	spiffe://example.org/spire/agent/join_token/unused-token-2
\.


--
-- Name: attested_node_entries_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.attested_node_entries_events_id_seq', 14, true);


--
-- Name: attested_node_entries_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.attested_node_entries_id_seq', 3, true);


--
-- Name: bundles_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.bundles_id_seq', 4, true);


--
-- Name: ca_journals_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.ca_journals_id_seq', 1, true);


--
-- Name: dns_names_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.dns_names_id_seq', 7, true);


--
-- Name: federated_trust_domains_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.federated_trust_domains_id_seq', 3, true);


--
-- Name: join_tokens_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.join_tokens_id_seq', 4, true);


--
-- Name: migrations_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.migrations_id_seq', 1, true);


--
-- Name: node_resolver_map_entries_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.node_resolver_map_entries_id_seq', 6, true);


--
-- Name: registered_entries_events_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.registered_entries_events_id_seq', 38, true);


--
-- Name: registered_entries_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.registered_entries_id_seq', 35, true);


--
-- Name: selectors_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.selectors_id_seq', 44, true);


--
-- Name: attested_node_entries_events attested_node_entries_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attested_node_entries_events
    ADD CONSTRAINT attested_node_entries_events_pkey PRIMARY KEY (id);


--
-- Name: attested_node_entries attested_node_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attested_node_entries
    ADD CONSTRAINT attested_node_entries_pkey PRIMARY KEY (id);


--
-- Name: bundles bundles_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.bundles
    ADD CONSTRAINT bundles_pkey PRIMARY KEY (id);


--
-- Name: ca_journals ca_journals_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ca_journals
    ADD CONSTRAINT ca_journals_pkey PRIMARY KEY (id);


--
-- Name: dns_names dns_names_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.dns_names
    ADD CONSTRAINT dns_names_pkey PRIMARY KEY (id);


--
-- Name: federated_registration_entries federated_registration_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.federated_registration_entries
    ADD CONSTRAINT federated_registration_entries_pkey PRIMARY KEY (bundle_id, registered_entry_id);


--
-- Name: federated_trust_domains federated_trust_domains_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.federated_trust_domains
    ADD CONSTRAINT federated_trust_domains_pkey PRIMARY KEY (id);


--
-- Name: join_tokens join_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.join_tokens
    ADD CONSTRAINT join_tokens_pkey PRIMARY KEY (id);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (id);


--
-- Name: node_resolver_map_entries node_resolver_map_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.node_resolver_map_entries
    ADD CONSTRAINT node_resolver_map_entries_pkey PRIMARY KEY (id);


--
-- Name: registered_entries_events registered_entries_events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registered_entries_events
    ADD CONSTRAINT registered_entries_events_pkey PRIMARY KEY (id);


--
-- Name: registered_entries registered_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.registered_entries
    ADD CONSTRAINT registered_entries_pkey PRIMARY KEY (id);


--
-- Name: selectors selectors_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.selectors
    ADD CONSTRAINT selectors_pkey PRIMARY KEY (id);


--
-- Name: idx_attested_node_entries_expires_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_attested_node_entries_expires_at ON public.attested_node_entries USING btree (expires_at);


--
-- Name: idx_ca_journals_active_jwt_authority_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_ca_journals_active_jwt_authority_id ON public.ca_journals USING btree (active_jwt_authority_id);


--
-- Name: idx_ca_journals_active_x509_authority_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_ca_journals_active_x509_authority_id ON public.ca_journals USING btree (active_x509_authority_id);


--
-- Name: idx_dns_entry; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX idx_dns_entry ON public.dns_names USING btree (registered_entry_id, value);


--
-- Name: idx_federated_registration_entries_registered_entry_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_federated_registration_entries_registered_entry_id ON public.federated_registration_entries USING btree (registered_entry_id);


--
-- Name: idx_node_resolver_map; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX idx_node_resolver_map ON public.node_resolver_map_entries USING btree (spiffe_id, type, value);


--
-- Name: idx_registered_entries_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_registered_entries_expiry ON public.registered_entries USING btree (expiry);


--
-- Name: idx_registered_entries_hint; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_registered_entries_hint ON public.registered_entries USING btree (hint);


--
-- Name: idx_registered_entries_parent_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_registered_entries_parent_id ON public.registered_entries USING btree (parent_id);


--
-- Name: idx_registered_entries_spiffe_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_registered_entries_spiffe_id ON public.registered_entries USING btree (spiffe_id);


--
-- Name: idx_selector_entry; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX idx_selector_entry ON public.selectors USING btree (registered_entry_id, type, value);


--
-- Name: idx_selectors_type_value; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idx_selectors_type_value ON public.selectors USING btree (type, value);


--
-- Name: uix_attested_node_entries_spiffe_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uix_attested_node_entries_spiffe_id ON public.attested_node_entries USING btree (spiffe_id);


--
-- Name: uix_bundles_trust_domain; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uix_bundles_trust_domain ON public.bundles USING btree (trust_domain);


--
-- Name: uix_federated_trust_domains_trust_domain; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uix_federated_trust_domains_trust_domain ON public.federated_trust_domains USING btree (trust_domain);


--
-- Name: uix_join_tokens_token; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uix_join_tokens_token ON public.join_tokens USING btree (token);


--
-- Name: uix_registered_entries_entry_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uix_registered_entries_entry_id ON public.registered_entries USING btree (entry_id);


--
-- PostgreSQL database dump complete
--


