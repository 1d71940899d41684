package pgx_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// unsendable are calls that the protocol has no room or no form for, each for another reason.
func unsendable() map[string]call {
	const params = 65536
	text := strings.Builder{}
	args := make([]any, params)
	for i := range args {
		fmt.Fprintf(&text, ", ($%d::int)", i+1)
		args[i] = i
	}
	return map[string]call{
		"too many parameters":          {"INSERT INTO log (k) VALUES " + text.String()[2:], args},
		"too many arguments":           {"INSERT INTO log (k) VALUES ($1)", args},
		"a text that ends in between":  {"INSERT INTO log (k) VALUES ($1)\x00", []any{7}},
		"the same without parameters":  {"INSERT INTO log (k) VALUES (7)\x00", nil},
		"an argument of another type":  {"INSERT INTO log (k) VALUES ($1)", []any{make(chan int)}},
		"an argument that is too much": {"INSERT INTO log (k) VALUES ($1)", nil},
	}
}

// takesLong are the ways that try what takes seconds; -modes is for the others.
var takesLong = regexp.MustCompile("/((transaction|autocommit)/cache_statement|transaction/simple_protocol)$")

func TestWhatCannotBeSentIsItsCallersAlone(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, via ...pgtest.DSNOption) {
		if !*everyMode && strings.Contains(t.Name(), "describe") { // they differ least from cache_statement and exec
			t.SkipNow()
		}
		r := setUpOn(t, pgtest.DSN(t), via, groupcommit.Retry(groupcommit.Never))
		r.exec(r.plain, "ALTER TABLE log ADD COLUMN pid INT DEFAULT pg_backend_pid()")
		way := r.open("pgx", pgtest.With(r.dsn, via[1:]...)) // the plain driver's, by the same protocol
		for name, bad := range unsendable() {
			if len(bad.args) > 1 && !*everyMode && !takesLong.MatchString(t.Name()) {
				continue
			}
			r.exec(r.plain, "DELETE FROM log")
			_, want := way.Exec(bad.query, bad.args...)
			r.exec(r.plain, "DELETE FROM log")
			got := r.together(logged(1), bad, logged(2), bad, logged(3))
			r.good(got, 1, 3)
			for _, i := range []int{1, 3} {
				if want == nil {
					require.NoError(r, got[i].err, name)
				} else {
					require.EqualError(r, got[i].err, want.Error(), name)
				}
			}
			if want != nil {
				r.once(3)
			}
			if want != nil && !strings.Contains(t.Name(), "simple") { // which has no way for many that fail
				require.Equal(r, "1", r.value("SELECT count(DISTINCT pid) FROM log"), "connections of the group, %s", name)
			}
		}
	})
}

func TestWhatCannotBeSentAndHasAnIDIsItsCallersAlone(t *testing.T) {
	t.Parallel()
	r := ledgerRig(t, groupcommit.Retry(groupcommit.Never))
	for _, name := range []string{"too many parameters", "too many arguments"} {
		bad := unsendable()[name]
		r.exec(r.plain, "DELETE FROM log")
		want := r.plainError(bad)
		got := r.named(named{"1" + name, logged(1)}, named{"2" + name, bad}, named{"", logged(2)}, named{"3" + name, logged(3)})
		for i, o := range got {
			if i == 1 {
				require.EqualError(t, o.err, want.Error(), name)
			} else {
				require.Equal(t, done, o, name)
			}
		}
		r.once(3)
	}
}
