package pgtest

// newPublic drops all schemas and makes public anew, as initdb makes it.
const newPublic = `
SET client_min_messages = error;
DO $$ DECLARE name text; BEGIN
	FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE format('DROP SCHEMA %I CASCADE', name);
	END LOOP;
	CREATE SCHEMA public;
	COMMENT ON SCHEMA public IS 'standard public schema';
	IF current_setting('server_version_num')::int >= 150000 THEN
		ALTER SCHEMA public OWNER TO pg_database_owner;
		GRANT USAGE ON SCHEMA public TO PUBLIC;
	ELSE
		GRANT ALL ON SCHEMA public TO PUBLIC;
	END IF;
END $$`

// public asks for what newPublic has to make.
const public = "SELECT concat_ws(' ', nspowner::regrole, nspacl, obj_description(oid)) FROM pg_namespace WHERE nspname = 'public'"

// makeCensus asks for the query that counts the rows of all catalogs, and how many of them are of transaction BORN or
// younger, by their age: numbers are compared, and not read from texts. Of the catalogs that all databases share it takes what
// is about this one.
//
// Two things may differ: a session that has had temporary tables leaves an empty schema, and ANALYZE, which runs by
// itself, leaves statistics.
const makeCensus = `
SELECT $$
	WITH this AS (SELECT * FROM pg_database WHERE datname = current_database()),
	counts (name, n, young) AS ($$ || string_agg(format(
		'SELECT %L, count(*), count(*) FILTER (WHERE age(xmin) <= age(''BORN''::xid)) FROM pg_catalog.%I WHERE %s', relname, relname,
		CASE relname WHEN 'pg_namespace' THEN $$nspname !~ '^pg_(toast_)?temp_'$$ ELSE 'true' END), '
		UNION ALL ') || $$
		UNION ALL SELECT 'settings', count(*), 0 FROM pg_db_role_setting, this WHERE setdatabase = this.oid
		UNION ALL SELECT 'owners and rights', count(*), 0 FROM pg_shdepend, this WHERE dbid = this.oid
		UNION ALL SELECT 'remarks', count(*), 0 FROM pg_shdescription, this WHERE objoid = this.oid
		UNION ALL SELECT 'labels', count(*), 0 FROM pg_shseclabel, this WHERE objoid = this.oid
		UNION ALL SELECT 'subscriptions', count(*), 0 FROM pg_subscription, this WHERE subdbid = this.oid
		UNION ALL SELECT 'slots', count(*), 0 FROM pg_replication_slots WHERE database = current_database()
		UNION ALL SELECT 'prepared transactions', count(*), 0 FROM pg_prepared_xacts WHERE database = current_database()
		UNION ALL SELECT 'the database', count(*), 0 FROM this WHERE datallowconn AND NOT datistemplate AND datconnlimit = -1
			AND datacl IS NULL AND datdba = current_user::regrole)
	SELECT string_agg(concat_ws(' ', name, n, young), ', ' ORDER BY name) FROM counts$$
FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared AND relname <> 'pg_statistic'`
