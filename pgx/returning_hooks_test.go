package pgx_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// connected is a rig whose connections, plain and ours, are prepared by a hook.
func connected(t *testing.T, schema []string, hook func(context.Context, *pgx.Conn) error) *rig {
	t.Helper()
	r := setUp(t)
	for _, s := range schema {
		r.exec(r.plain, s)
	}
	config, err := pgx.ParseConfig(r.dsn)
	require.NoError(t, err)
	connector := stdlib.GetConnector(*config, stdlib.OptionAfterConnect(hook))
	ours, err := groupcommit.NewConnector(connector, groupcommit.OnGroup(r.observe), groupcommit.Writers(1), learnsNothing())
	require.NoError(t, err)
	r.plain, r.db = sql.OpenDB(connector), sql.OpenDB(ours)
	t.Cleanup(func() { r.plain.Close(); r.db.Close() })
	return r
}

var ownTypes = []string{
	"CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy')",
	"CREATE TYPE pair AS (n INT, said TEXT, m mood)",
	"CREATE DOMAIN small AS INT CHECK (VALUE < 10)",
	"CREATE DOMAIN loud AS TEXT CHECK (VALUE = upper(VALUE))",
	"CREATE TYPE span AS RANGE (subtype = int4)",
	"CREATE TABLE owned (id INT PRIMARY KEY, m mood, p pair, s small, l loud, ms mood[], ps pair[], ss small[], r span)",
}

// An enum, a composite, a domain, a range and their arrays, which a hook has registered or not.
func TestAQueryInAGroupHasTheTypesThatAHookHasRegistered(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(context.Context, *pgx.Conn) error{
		"registered": func(ctx context.Context, c *pgx.Conn) error {
			types, err := c.LoadTypes(ctx, []string{"mood", "pair", "small", "loud", "span", "_mood", "_pair"})
			c.TypeMap().RegisterTypes(types)
			return err
		},
		"not registered": func(context.Context, *pgx.Conn) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := connected(t, ownTypes, hook)
			const insert = "INSERT INTO owned VALUES ($1, $2, ROW(1, 'it''s', 'ok'), 7, 'LOUD', '{sad,ok}', ARRAY[ROW(1, NULL, 'sad')::pair, NULL], '{1,2}', '[1,5)') RETURNING *, m::text, p"
			answers, members := r.asPlain([]string{"owned", "log"}, neighbour(1),
				query(insert, 1, "very happy"), r.prepared(insert, 2, nil),
				query("INSERT INTO owned (id, s, l) VALUES (3, 11, 'x') RETURNING s"),
				query("INSERT INTO owned (id, m) VALUES (4, 'glad') RETURNING m"),
				query("INSERT INTO owned (id) VALUES (5) RETURNING *"))
			require.Contains(t, members, insert)
			require.Equal(t, name == "registered", strings.Contains(answers[1], " MOOD "))
		})
	}
}

// awkward makes values of int4 that cannot be read, or panic.
type awkward struct{ pgtype.Codec }

type awkwardPlan struct{ pgtype.ScanPlan }

func (a awkward) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	return awkwardPlan{a.Codec.PlanScan(m, oid, format, target)}
}

var errAwkward = errors.New("an awkward value")

func (p awkwardPlan) Scan(src []byte, target any) error {
	switch src[len(src)-1] {
	case 13:
		return errAwkward
	case 14:
		panic("an awkward panic")
	}
	return p.ScanPlan.Scan(src, target)
}

func registerAwkward(_ context.Context, c *pgx.Conn) error {
	c.TypeMap().RegisterType(&pgtype.Type{Name: "int4", OID: pgtype.Int4OID, Codec: awkward{pgtype.Int4Codec{}}})
	return nil
}

// A value that cannot be read is met behind the rows before it, and all rows are committed.
func TestAValueOfAQueryInAGroupThatCannotBeReadIsMetInItsPlace(t *testing.T) {
	t.Parallel()
	r := connected(t, []string{"CREATE TABLE t (id INT PRIMARY KEY, a TEXT)"}, registerAwkward)
	for _, text := range []string{
		"INSERT INTO t SELECT g, 'x' FROM generate_series($1::bigint, 15) g WHERE g <> 14 RETURNING id, id", // before COMMIT is sent
		"INSERT INTO t VALUES ($1, 'x'), (12, 'x'), (13, 'x'), (15, 'x') RETURNING id, id",                  // behind it
	} {
		answers, members := r.asPlain([]string{"t", "log"}, neighbour(1), query(text, int64(11)), first("INSERT INTO t VALUES (1, 'a'), ($1, 'b') RETURNING id", int64(13)), neighbour(2))
		require.Contains(t, answers[1], "convert field 0 failed: an awkward value")
		require.Contains(t, members, text)
	}
}

func TestAPanicInATypeOfTheProgramsIsItsOwnCallersOnly(t *testing.T) {
	t.Parallel()
	r := connected(t, []string{"CREATE TABLE t (id INT PRIMARY KEY)"}, registerAwkward)
	insert := func(id int) step {
		return step{"", func(db *sql.DB) (answer string) {
			defer func() {
				if v := recover(); v != nil {
					answer = fmt.Sprint("panic: ", v)
				}
			}()
			return fmt.Sprint(db.QueryRow("INSERT INTO t VALUES ($1) RETURNING id", int64(id)).Scan(&id), id)
		}}
	}
	for range 3 {
		answers, _ := r.asOne(insert(1), insert(14), insert(3), neighbour(1))
		require.Equal(t, []string{"<nil> 1", "panic: an awkward panic", "<nil> 3", "1 rows, <nil> <nil>"}, answers)
		require.Equal(t, "3", r.value("SELECT count(*)::text FROM t"))
		r.exec(r.plain, "DELETE FROM t")
	}
}
