package groupcommit

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// strictDriver refuses a name that it does not know whole.
type strictDriver struct{ *fake }

func (d strictDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if strings.Contains(dsn, prefix) {
		return nil, fmt.Errorf("strict: unknown parameter in %q", dsn)
	}
	return dsnConnector{dsn, d}, nil
}

// limitsOf are the options of a database that is open.
func limitsOf(t *testing.T, db *sql.DB) limits {
	t.Cleanup(func() { db.Close() })
	d, err := databaseOf(t.Context(), db)
	require.NoError(t, err)
	return d.limits
}

func TestOpenTakesTheNamesOfBothDrivers(t *testing.T) {
	f := newFake()
	plain := fmt.Sprintf("fake%d", fakes.Add(1))
	sql.Register(plain, f)
	wrapped, err := Open(plain, "x", MaxLen(7))
	require.NoError(t, err)
	l := limitsOf(t, wrapped)
	assert.Equal(t, 7, l.maxLen)
	assert.Equal(t, defaults.maxQueue, l.maxQueue)

	Register(plain+suffix, f, MaxLen(8), MaxQueue(9))
	for _, name := range []string{plain, plain + suffix} {
		db, err := Open(name, "x", MaxLen(7))
		require.NoError(t, err)
		l := limitsOf(t, db)
		assert.Equal(t, 7, l.maxLen, "an option of Open overrides one of Register")
		assert.Equal(t, 9, l.maxQueue)
		_, err = db.Exec("INSERT 1")
		require.NoError(t, err)
	}
}

func TestTheDataSourceNameOverridesOpensOptions(t *testing.T) {
	name := newFake().register(t)
	for _, test := range []struct {
		dsn  string
		opts []Option
		want int
	}{
		{"x", nil, openPhysical},
		{"x", []Option{Physical(5)}, 5},
		{"x?groupcommit_physical=6", nil, 6},
		{"x?groupcommit_physical=6", []Option{Physical(5)}, 6},
	} {
		db, err := Open(name, test.dsn, test.opts...)
		require.NoError(t, err)
		assert.Equal(t, test.want, limitsOf(t, db).physical, test)
	}
	bounded := newFake().register(t, Physical(4))
	db, err := Open(bounded, "x")
	require.NoError(t, err)
	assert.Equal(t, 4, limitsOf(t, db).physical, "a bound of Register's stays")
}

// The plain driver may read its name as it is opened, and refuse what it does not know.
func TestThePlainDriverDoesNotSeeOurOptionsInOpen(t *testing.T) {
	f := newFake()
	plain := fmt.Sprintf("fake%d", fakes.Add(1))
	sql.Register(plain, strictDriver{f})
	db, err := Open(plain, "x?groupcommit_maxlen=7&y=1")
	require.NoError(t, err)
	assert.Equal(t, 7, limitsOf(t, db).maxLen)
}

func TestTheFirstCallersOfAnOpenedDatabaseShareItsConnections(t *testing.T) {
	f := newFake()
	db, err := Open(f.register(t), "x", Physical(4))
	require.NoError(t, err)
	defer db.Close()
	var all sync.WaitGroup
	release := make(chan struct{})
	for range 50 {
		all.Go(func() {
			c, err := db.Conn(t.Context())
			if assert.NoError(t, err) {
				defer c.Close()
				<-release // and so each has a connection of the program's pool
				rows, err := c.QueryContext(t.Context(), "SELECT 1")
				assert.NoError(t, err)
				assert.NoError(t, rows.Close())
			}
		})
	}
	bounded.Until(t, "all have a connection", func() bool { return db.Stats().InUse == 50 })
	close(release)
	bounded.Wait(t, "all have read", all.Wait)
	require.LessOrEqual(t, f.count("open"), 4)
}

// A traced driver wraps another, as a tracer does.
type traced struct{ of driver.Driver }

func (d traced) Open(dsn string) (driver.Conn, error) { return d.of.Open(dsn) }

func TestOpenRefusesWhatIsWrong(t *testing.T) {
	name := newFake().register(t)
	db, err := sql.Open(name, "x")
	require.NoError(t, err)
	defer db.Close()
	sql.Register("traced "+name, traced{db.Driver()})
	for what, test := range map[string]struct {
		name, dsn string
		opts      []Option
		want      string
	}{
		"driver": {"nobody", "x", nil, `groupcommit: Open "nobody": sql: unknown driver "nobody" (forgotten import?)`},
		"value": {name, "x", []Option{MaxLen(0)},
			`groupcommit: Open "` + name + `": groupcommit: option MaxLen: "0" is not allowed; a whole number from 1 to 2147483647 is`},
		"wrapper": {"traced " + name, "x", nil,
			`groupcommit: Open "traced ` + name + `": driver groupcommit.traced is a wrapper around one of groupcommit's, which would be wrapped again; ` +
				`a driver without the wrapper is needed, or sql.Open and options of Register`},
		"nil": {name, "x", []Option{nil}, `groupcommit: Open "` + name + `": groupcommit: option 1 of 1 is nil`},
		"name": {name, "x?groupcommit_maxlen=0", nil,
			`groupcommit: Open "` + name + `": groupcommit: option groupcommit_maxlen: "0" is not allowed; a whole number from 1 to 2147483647 is`},
	} {
		t.Run(what, func(t *testing.T) {
			db, err := Open(test.name, test.dsn, test.opts...)
			require.EqualError(t, err, test.want)
			require.Nil(t, db)
		})
	}
}
