package sqlxbind_test

import (
	"database/sql"
	"os/exec"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/pgx"
	"github.com/groupcommit/groupcommit/sqlite3"
	_ "github.com/groupcommit/groupcommit/sqlxbind"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSqlxKnowsThePlaceholdersOfBothDrivers(t *testing.T) {
	assert.Equal(t, sqlx.QUESTION, sqlx.BindType(sqlite3.DriverName))
	assert.Equal(t, sqlx.DOLLAR, sqlx.BindType(pgx.DriverName))
	assert.Equal(t, sqlx.DOLLAR, sqlx.BindType("pgx/v5-groupcommit"))
	assert.Contains(t, sql.Drivers(), "pgx/v5-groupcommit")
}

// Otherwise sqlx would be a dependency of every program, and both drivers one of every program with sqlx.
func TestADriverDoesNotImportSqlxNorSqlxbindADriver(t *testing.T) {
	assert.NotContains(t, imports(t, "../sqlite3", "../pgx"), "github.com/jmoiron/sqlx")
	for _, p := range imports(t, ".") {
		assert.False(t, strings.HasPrefix(p, "github.com/jackc/pgx") || strings.HasPrefix(p, "github.com/mattn"), p)
	}
}

func imports(t *testing.T, packages ...string) []string {
	out, err := exec.Command("go", append([]string{"list", "-deps"}, packages...)...).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}
