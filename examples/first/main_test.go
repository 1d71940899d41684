package main

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestItIsTheProgramInREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```go\npackage main\n")
	require.True(t, found, "README.md has a program")
	shown, _, found := strings.Cut(rest, "```\n")
	require.True(t, found)
	assert.Equal(t, string(program), "package main\n"+shown)
}

func TestItInsertsAThousandUsers(t *testing.T) {
	t.Chdir(t.TempDir())
	main()
	db, err := sql.Open("sqlite3-groupcommit", "app.db")
	require.NoError(t, err)
	defer db.Close()
	var users, names int
	require.NoError(t, db.QueryRow("SELECT count(*), count(DISTINCT name) FROM users").Scan(&users, &names))
	assert.Equal(t, 1000, users)
	assert.Equal(t, 1000, names)
}
