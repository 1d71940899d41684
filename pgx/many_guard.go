package pgx

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/groupcommit/groupcommit/internal/sqltext"
	"github.com/jackc/pgx/v5/pgconn"
)

// A statement with many rows inserts what as many statements insert, unless code of the program's runs in it: such code sees
// the table as it was before the statement, or is called once where it would be called for each row. So these tables are left
// to single rows: with triggers, rules, row level security, partitions; with a foreign key to itself, because a row would see
// the one behind it; with exclusion constraints; and those where a default, a check, a generated column, an index or a type may
// call a function of the program's, or one of the server's whose answer depends on the statement. What is not known counts as
// such.
//
// Whether a table is one of these is asked when its statements are prepared, together with a print of what the answer depends
// on. The print changes whenever the table's definition does. Each transaction asks for it again, behind the rows. They hold a lock
// that lets nobody change the definition before COMMIT. If the print is another, the transaction is rolled back.

// tableOf is the table that a name means in the session, as a statement finds it. It is locked by those before it.
const tableOf = "pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)"

// tablePrint is the print of the table c. A function, an operator or a type of the program's may change without the table; no
// table that has one is left.
const tablePrint = `c.oid::text || ' ' || c.xmin::text
	|| coalesce((SELECT pg_catalog.array_agg(xmin)::text FROM pg_catalog.pg_attribute WHERE attrelid = c.oid), '')
	|| coalesce((SELECT pg_catalog.array_agg(xmin)::text FROM pg_catalog.pg_constraint WHERE conrelid = c.oid), '')
	|| coalesce((SELECT pg_catalog.array_agg(xmin)::text FROM pg_catalog.pg_index WHERE indrelid = c.oid), '')
	|| CASE WHEN c.relhastriggers THEN coalesce((SELECT pg_catalog.array_agg(xmin)::text FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid), '') ELSE '' END`

// guardSQL asks for the print of a table.
const guardSQL = "SELECT " + tablePrint + " FROM " + tableOf

// firstOfUsers is the first OID of what is not the server's own.
const firstOfUsers = "16384"

// checkSQL asks for the print of a table, and why the table is to have single rows; "" if it may have many.
//
// The functions that an expression calls are read from its tree. The server's own ones are not in pg_depend.
const checkSQL = `WITH expressions AS (
	SELECT adbin::text AS tree FROM pg_catalog.pg_attrdef WHERE adrelid = pg_catalog.to_regclass($1)
	UNION ALL SELECT conbin::text FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1)
	UNION ALL SELECT indexprs::text FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass($1)
	UNION ALL SELECT indpred::text FROM pg_catalog.pg_index WHERE indrelid = pg_catalog.to_regclass($1)
), functions AS (
	SELECT DISTINCT (pg_catalog.regexp_matches(tree, ':(?:funcid|elemfuncid|opfuncid) ([0-9]+)', 'g'))[1]::oid AS oid FROM expressions
), operators AS (
	SELECT DISTINCT (pg_catalog.regexp_matches(tree, ':opno ([0-9]+)', 'g'))[1]::oid AS oid FROM expressions
)
SELECT ` + tablePrint + `, CASE
	WHEN c.relkind <> 'r' OR c.relpersistence = 't' OR c.relispartition THEN 'it is no plain table'
	WHEN c.relhasrules THEN 'it has rules'
	WHEN c.relrowsecurity THEN 'it has row level security'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal) THEN 'it has triggers'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND (contype = 'x' OR confrelid = c.oid)) THEN 'it has constraints between its rows'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
		WHERE a.attrelid = c.oid AND NOT a.attisdropped AND (t.typtype NOT IN ('b', 'e') AND t.oid >= ` + firstOfUsers + ` OR t.typtype = 'd' OR e.typtype NOT IN ('b', 'e')))
		THEN 'it has types that may call functions'
	WHEN EXISTS (SELECT FROM functions f LEFT JOIN pg_catalog.pg_proc p ON p.oid = f.oid WHERE f.oid <> 0
		AND (p.oid IS NULL OR p.oid >= ` + firstOfUsers + ` OR p.provolatile <> 'i' AND p.proname <> ALL (` + steadyFunctions + `)))
		OR EXISTS (SELECT FROM operators WHERE oid >= ` + firstOfUsers + `)
		OR EXISTS (SELECT FROM expressions WHERE tree ~ '[{](COERCETODOMAIN|ROWCOMPARE|SUBLINK|SUBPLAN) ')
		THEN 'it calls functions'
	WHEN EXISTS (SELECT FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indclass) AS u(class) WHERE i.indrelid = c.oid AND u.class >= ` + firstOfUsers + `
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND d.objid = u.class AND d.deptype = 'e'))
		THEN 'it has an index by functions'
	ELSE '' END FROM ` + tableOf

// steadyFunctions are those of the server's that give in a statement with many rows what they give in single ones, though they
// are not immutable. statement_timestamp is none of them.
const steadyFunctions = `'{now,transaction_timestamp,clock_timestamp,timeofday,nextval,random,gen_random_uuid,uuidv4,uuidv7,
	current_database,current_schema,current_user,session_user,current_setting,pg_backend_pid,txid_current,pg_current_xact_id,
	timezone,date_trunc,date_part,extract,to_char,to_date,to_timestamp,age,date,time,timetz,timestamp,timestamptz,interval,
	concat,concat_ws,format,array_to_string}'::text[]`

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
//	[close…] [ROLLBACK] [parse guard] guard (close parse)… check Sync
//
// The text itself is prepared again, with the types that its parameters have. So it means the same table as the others: a name in a
// statement that was prepared before another table took that name goes on to mean the first one. The guard before it and the check
// behind it agree only if no other table has taken the name meanwhile. The parsing locks the table up to the Sync.
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
	p.SendQueryParams(checkSQL, table, nil, nil, nil)
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
	case len(first) != 1 || len(check) != 2 || string(first[0]) != string(check[0]) || len(check[1]) > 0:
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
