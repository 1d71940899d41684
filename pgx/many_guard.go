package pgx

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5/pgconn"
)

// A statement with many rows inserts what as many statements insert, unless code of the program's runs in it: such code sees the table
// as it was before the statement, or is called once where it would be called for each row. So a table has statements of many rows
// only if it is known that nothing but the server's own code runs for a row, and that this code neither reads the table nor tells
// one statement from the next. What is not known counts as the contrary.
//
//   - The table is a heap of its own: no view, partition or temporary table. It has no rules, no row level security, and no triggers
//     but the server's own for foreign keys and for keys that are deferrable.
//   - No constraint is between its rows, but for keys: no exclusion, and no foreign key to itself. A row would see the one behind it.
//   - Its columns have the server's own types, or are enums, or arrays of these: a domain has checks.
//   - By pg_depend, which has all that an expression, an index or a constraint uses of what is not the server's own, these use tables,
//     types, collations and schemas: no function, no operator, no operator class.
//   - So an index and a generated column call the server's own functions, of which the server wants that they are immutable. A default
//     and a check may call any. Written out, a call is a word and a parenthesis, and the word must be one of calmWords. (Operators and
//     casts of the server's own need none, and are immutable or stable.)
//   - No cast and no order of the program's is about these types.
//
// What a superuser has changed of the server's own objects counts as the server's own.
//
// Whether a table is one of these is asked when its statements are prepared, together with a print of what the answer depends
// on. The print changes whenever the table's definition does. Each transaction asks for it again, behind the rows. They hold a lock
// that lets nobody change the definition before COMMIT. If the print is another, the transaction is rolled back.

// The versions of the server on which the rules have been tried. A later one may have something new that runs for a row.
const (
	manyFrom  = 120000
	manyUntil = 190000
)

// tableOf is the table that a name means in the session, as a statement finds it. It is locked by those before it. At a stricter level of
// isolation the transaction sees the catalogs as they were before it waited for the lock, and so there is no table. The level may have
// become stricter since the connection was asked for it.
const tableOf = "pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1) AND pg_catalog.current_setting('transaction_isolation') LIKE 'read %'"

// tablePrint is the print of the table c.
const tablePrint = `c.oid::text || ' ' || c.xmin::text
	|| coalesce((SELECT pg_catalog.array_agg(xmin ORDER BY attnum)::text FROM pg_catalog.pg_attribute WHERE attrelid = c.oid), '')
	|| coalesce((SELECT pg_catalog.array_agg(xmin ORDER BY adnum)::text FROM pg_catalog.pg_attrdef WHERE adrelid = c.oid), '')
	|| coalesce((SELECT pg_catalog.array_agg(xmin ORDER BY oid)::text FROM pg_catalog.pg_constraint WHERE conrelid = c.oid), '')
	|| coalesce((SELECT pg_catalog.array_agg(xmin ORDER BY indexrelid)::text FROM pg_catalog.pg_index WHERE indrelid = c.oid), '')
	|| CASE WHEN c.relhastriggers THEN coalesce((SELECT pg_catalog.array_agg(xmin ORDER BY oid)::text FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid), '') ELSE '' END`

// guardSQL asks for the print of a table.
const guardSQL = "SELECT " + tablePrint + " FROM " + tableOf

// firstOfUsers is the first OID of what is not the server's own.
const firstOfUsers = "16384"

// calmWords may stand before a parenthesis in a default or a check. now() is the transaction's, and so is the time zone. A sequence
// counts rows in their order, whatever statement they are in. A UUID is made for each row. What a text's functions answer depends on
// the text alone. statement_timestamp and clock_timestamp are none of these words, nor is what reads a setting or runs a query.
const calmWords = `'{now,transaction_timestamp,timezone,nextval,gen_random_uuid,uuidv4,uuidv7,length,char_length,octet_length,lower,upper,AND,OR,NOT,ANY,ALL}'::text[]`

// checkSQL asks for the print of a table, and why the table is to have single rows; "" if it may have many. It has no backslash, which
// a session may read in two ways.
const checkSQL = `WITH objects(class, oid) AS (
	SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, pg_catalog.to_regclass($1)::oid
	UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, indexrelid FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass($1)
	UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid FROM pg_catalog.pg_attrdef WHERE adrelid = pg_catalog.to_regclass($1)
	UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1)
), used AS (
	SELECT refclassid AS class, refobjid AS oid FROM objects o JOIN pg_catalog.pg_depend d ON d.classid = o.class AND d.objid = o.oid
), columns AS (
	SELECT atttypid AS type FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass($1) AND attnum > 0 AND NOT attisdropped
	UNION SELECT oid FROM used WHERE class = 'pg_catalog.pg_type'::pg_catalog.regclass
), types AS (
	SELECT t.oid, t.typtype FROM columns c LEFT JOIN pg_catalog.pg_type e ON e.typarray = c.type
		LEFT JOIN pg_catalog.pg_type t ON t.oid = coalesce(e.oid, c.type)
), alltypes AS (
	SELECT type FROM columns UNION SELECT oid FROM types
), expressions AS (
	SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS text FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		WHERE d.adrelid = pg_catalog.to_regclass($1) AND a.attgenerated = ''
	UNION ALL SELECT pg_catalog.pg_get_expr(conbin, conrelid) FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1) AND contype = 'c'
), words AS (
	SELECT (pg_catalog.regexp_matches(pg_catalog.regexp_replace(text, '''([^'']|'''')*''|"([^"]|"")*"', 'quoted', 'g'), '([[:alnum:]_]+)[[:space:]]*[(]', 'g'))[1] AS word
	FROM expressions
)
SELECT ` + tablePrint + `, CASE
	WHEN c.relkind <> 'r' OR c.relam <> 2 OR c.relpersistence NOT IN ('p', 'u') OR c.relispartition THEN 'it is no plain table'
	WHEN c.relhasrules THEN 'it has rules'
	WHEN c.relrowsecurity THEN 'it has row level security'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND (NOT tgisinternal OR tgfoid >= ` + firstOfUsers + `)) THEN 'it has triggers'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND (contype NOT IN ('c', 'f', 'n', 'p', 'u') OR confrelid = c.oid))
		OR EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = c.oid AND indisexclusion)
		THEN 'it has constraints between its rows'
	WHEN EXISTS (SELECT FROM types WHERE (typtype = 'e' OR typtype IN ('b', 'r', 'm') AND oid < ` + firstOfUsers + `) IS NOT TRUE) THEN 'it has types that may call functions'
	WHEN EXISTS (SELECT FROM used WHERE class <> ALL (ARRAY['pg_catalog.pg_class', 'pg_catalog.pg_type', 'pg_catalog.pg_namespace', 'pg_catalog.pg_collation',
		'pg_catalog.pg_constraint', 'pg_catalog.pg_extension']::pg_catalog.regclass[])) THEN 'it uses functions or operators'
	WHEN EXISTS (SELECT FROM expressions WHERE text IS NULL) OR EXISTS (SELECT FROM words WHERE word <> ALL (` + calmWords + `)) THEN 'it calls functions'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_cast WHERE castfunc >= ` + firstOfUsers + ` AND casttarget IN (SELECT type FROM alltypes)
			AND (castsource < ` + firstOfUsers + ` OR castsource IN (SELECT type FROM alltypes)))
		OR EXISTS (SELECT FROM pg_catalog.pg_opclass WHERE oid >= ` + firstOfUsers + ` AND opcdefault AND opcmethod IN (403, 405) AND opcintype IN (SELECT type FROM alltypes))
		THEN 'it has types with casts or orders of the program''s'
	ELSE '' END FROM ` + tableOf

var (
	// errNotAlike ends a transaction in which a statement with many rows was not as many single ones.
	errNotAlike = errors.New("groupcommit/pgx: a statement with many rows was not as many single ones")
	// errSingleRows says that a text must have single rows.
	errSingleRows = errors.New("groupcommit/pgx: the table must have single rows")
)

// A manyText is a text with its statements of many rows, as one connection has them.
type manyText struct {
	single *pgconn.StatementDescription // they have its parameters' types
	insert *sqltext.PlainInsert
	wide   []wideStatement // in falling order
	print  string          // of the table for which they are right
}

// prepareMany has the server prepare the statements of many rows of a text, and says whether the table may have them.
//
//	[close…] [ROLLBACK] [parse guard] guard (close parse)… (check | guard) Sync
//
// The text itself is prepared again, with the types that its parameters have. So it means the same table as the others: a name in a
// statement that was prepared before another table took that name goes on to mean the first one. The guard before it and the check
// behind it agree only if no other table has taken the name meanwhile. The parsing locks the table up to the Sync.
//
// The check takes the server some milliseconds. Where another connection has had its answer, the guard says whether the table is still
// the same.
//
// An error that is the server's, or errSingleRows, leaves the text to single rows.
func (s *session) prepareMany(ctx context.Context, r *request) (err error) {
	m := &manyText{single: r.described, insert: r.insert}
	s.watch.begin(s.itself())
	defer func() { s.watch.end(ctx) }()
	p := s.pg.PgConn().StartPipeline(ctx)
	defer func() {
		if lost := p.Close(); lost != nil && asPg(lost) == nil {
			err = lost
		}
		if err != nil {
			s.drop(r.query) // it may have been closed
		}
	}()
	before := s.sendRemains(p)
	table := [][]byte{[]byte(m.insert.Table)}
	guard, known := s.known.Get(guardKey)
	if !known {
		p.SendPrepare(s.name(guardKey), guardSQL, nil)
	}
	p.SendQueryPrepared(s.name(guardKey), table, nil, nil)
	p.SendDeallocate(m.single.Name)
	p.SendPrepare(m.single.Name, r.query, m.single.ParamOIDs)
	widths := s.database.widths.of(m.insert)
	for _, n := range widths {
		s.known.Take(manyKey(m.insert, n))
		p.SendDeallocate(s.name(manyKey(m.insert, n)))
		p.SendPrepare(s.name(manyKey(m.insert, n)), m.insert.Rows(n), slices.Repeat(m.single.ParamOIDs, n))
	}
	if judged := s.memory.manyPrint(r.query); judged != "" {
		m.print = judged
		p.SendQueryPrepared(s.name(guardKey), table, nil, nil)
	} else {
		p.SendQueryParams(checkSQL, table, nil, nil, nil)
	}
	if err := p.Sync(); err != nil {
		return err
	}
	if err := s.readRemains(p, before); err != nil {
		return err
	}
	err = s.readPrepared(p, m, guard, widths)
	s.watch.hear(time.Now())
	if err != nil && err != errSingleRows && endsConnection(err) {
		return err
	}
	if lost := readSync(p); lost != nil {
		return lost
	}
	if err == nil {
		s.many.texts.Put(r.query, m)
		s.memory.manyPrinted(r.query, m.print)
	} else {
		s.memory.manyPrinted(r.query, "")
	}
	return err
}

// readPrepared reads the answers to what prepareMany has sent, and keeps the statements.
func (s *session) readPrepared(p *pgconn.Pipeline, m *manyText, guard *pgconn.StatementDescription, rows widths) (err error) {
	if guard == nil {
		if guard, err = readDescription(p); err != nil {
			return err
		}
		s.keep(guard, guardKey)
	}
	_, first, err := readAnswer(p, true)
	if err == nil {
		_, _, err = readAnswer(p, false)
	}
	if err == nil {
		_, err = readDescription(p)
	}
	for _, n := range rows {
		if err != nil {
			return err
		}
		var sd *pgconn.StatementDescription
		if _, _, err = readAnswer(p, false); err == nil {
			sd, err = readDescription(p)
		}
		if err == nil {
			s.keep(sd, manyKey(m.insert, n))
			m.wide = append(m.wide, wideStatement{sd, n})
		}
	}
	if err != nil {
		return err
	}
	_, check, err := readAnswer(p, true)
	switch {
	case err != nil:
		return err
	case len(first) != 1 || len(check) == 0 || string(first[0]) != string(check[0]), // another table has taken the name meanwhile
		m.print != "" && string(check[0]) != m.print,
		m.print == "" && (len(check) != 2 || len(check[1]) > 0):
		for _, wide := range m.wide {
			s.drop(wide.SQL)
		}
		return errSingleRows
	}
	m.print = string(check[0])
	return nil
}

// manyKey is what the statement with n rows is known by. No text of the program's has a NUL.
func manyKey(insert *sqltext.PlainInsert, n int) string { return "\x00" + insert.Rows(n) }

// guardKey is likewise what guardSQL is known by.
const guardKey = "\x00" + guardSQL

// keep keeps a statement that the server has prepared.
func (s *statements) keep(sd *pgconn.StatementDescription, key string) {
	sd.Name, sd.SQL = s.name(key), key
	s.known.Put(key, sd)
}
