package groupcommit

import (
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit/internal/virtual"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program that says SetMaxIdleConns(0) wants each use to open a connection of its own, and none to be left.
func TestWhereTheProgramsPoolKeepsNothingNothingIsLeftBelow(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, db *sql.DB){
		"ping": func(t *testing.T, db *sql.DB) { require.NoError(t, db.Ping()) },
		"exec": func(t *testing.T, db *sql.DB) { require.NoError(t, execOf(db, "INSERT a")()) },
		"no batch": func(t *testing.T, db *sql.DB) {
			_, err := db.ExecContext(NoBatch(t.Context()), "INSERT a")
			require.NoError(t, err)
		},
		"query": func(t *testing.T, db *sql.DB) { require.NoError(t, oneRow(t.Context(), db)) },
		"tx": func(t *testing.T, db *sql.DB) {
			tx, err := db.Begin()
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
		},
		"raw": func(t *testing.T, db *sql.DB) {
			c, err := db.Conn(t.Context())
			require.NoError(t, err)
			require.NoError(t, Raw(t.Context(), c, func(driver.Conn) error { return nil }))
			require.NoError(t, c.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			native, ours := newFake(), newFake()
			for f, db := range map[*fake]*sql.DB{native: native.plain(t), ours: ours.db(t)} {
				db.SetMaxIdleConns(0)
				if f == native && name == "raw" {
					continue
				}
				for range 3 {
					use(t, db)
					f.mu.Lock()
					assert.Zero(t, f.live, "ours: %t", f == ours)
					f.mu.Unlock()
				}
			}
			assert.Equal(t, 3, ours.count("open"), "one for each use")
		})
	}
}

func TestAFirstUseOpensOneConnection(t *testing.T) {
	f := newFake()
	db := f.db(t)
	require.NoError(t, db.Ping())
	require.NoError(t, execOf(db, "INSERT a")())
	require.NoError(t, oneRow(t.Context(), db))
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	assert.Equal(t, 1, f.count("open"))
}

// A wrapper above us may hide that the program's pool keeps its connections.
func TestAConnThatIsUsedAgainHasBeenKept(t *testing.T) {
	for name, put := range map[string]func(*virtual.Conn){"with IsValid": func(c *virtual.Conn) { c.IsValid() }, "with nothing": func(*virtual.Conn) {}} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			d, err := databaseOf(t.Context(), f.db(t))
			require.NoError(t, err)
			c := virtual.New(d, &d.Base, true)
			defer c.Close()
			for range 16 { // as many as package virtual needs to see
				_, err := c.ExecContext(t.Context(), "INSERT a", nil)
				require.NoError(t, err)
				put(c)
			}
			assert.True(t, d.Pool.Keeps())
			assert.LessOrEqual(t, f.count("open"), 2)
		})
	}
}

func TestAProgramOfPromisesAloneKeepsItsConnection(t *testing.T) {
	f := newFake()
	db := f.db(t)
	for range 5 {
		_, err := Go(t.Context(), db, "INSERT a").Await(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, 1, f.count("open"))
}
