package pgx_test

import (
	"fmt"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

func TestASessionThatIsNotInUTF8CannotKeepPromises(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t, pgtest.Param("client_encoding", "LATIN1"))
	r := setUpOn(t, dsn, nil)
	r.exec(r.db, "DELETE FROM log") // which is nothing to those without
	db := promising(r, dsn)
	err := db.Ping()
	require.ErrorContains(t, err, `client_encoding "LATIN1"`)
	require.ErrorContains(t, err, "UTF8")
	require.Equal(t, err, execID(background, db, named{"a", logged(1)}).err)
	require.Equal(t, "0", r.value("SELECT count(*) FROM log"))
}

// The driver asks for no encoding, and gets the database's.
func TestAnIDIsTheSameWhateverTheEncodingOfTheDatabase(t *testing.T) {
	s := pgtest.New(t, pgtest.Options{})
	admin := setUpOn(t, s.DSN(), nil)
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		t.Run(encoding, func(t *testing.T) {
			admin.exec(admin.plain, fmt.Sprintf("CREATE DATABASE %s ENCODING '%[1]s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'", encoding))
			dsn := s.DSN(pgtest.Database(map[string]string{"LATIN1": "latin1", "SQL_ASCII": "sql_ascii"}[encoding]))
			require.ErrorContains(t, promising(admin, dsn).Ping(), fmt.Sprintf("%q is not allowed", encoding))

			r := setUpOn(t, pgtest.With(dsn, pgtest.Param("client_encoding", "UTF8")), nil, groupcommit.Promises())
			r.exec(r.db, "DELETE FROM log")
			c := named{"zahlung-ü", logged(1)}
			require.Equal(t, all(done, 2), r.named(c, named{"other", logged(2)}))
			r.forget()
			require.Equal(t, doneBefore, execID(background, r.db, c))
			require.Equal(t, done, execID(background, r.db, named{"größe", logged(3)}))
			require.Equal(t, all(doneBefore, 2), r.named(named{"größe", logged(3)}, c))
			r.once(3)
			if encoding == "LATIN1" {
				for _, o := range append(r.named(named{"платёж", logged(4)}, named{"оплата", logged(5)}), execID(background, r.db, named{"платёж", logged(4)})) {
					require.Equal(t, "22P05", sqlState(o.err), "%v", o.err)
				}
				r.once(3)
			}
		})
	}
}
