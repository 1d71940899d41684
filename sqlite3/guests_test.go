package sqlite3_test

import (
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/sqlite3"
	"github.com/stretchr/testify/assert"
)

func TestFunctionsThatSQLiteBringsAreNoneOfTheProgram(t *testing.T) {
	const driver = "auth_enabled,match,matchinfo,fts3_tokenizer,offsets,optimize,snippet,rtreecheck,rtreenode,rtreedepth"
	const fts5 = ",fts5,fts5_source_id,fts5_locale,fts5_get_locale,fts5_insttoken,bm25,highlight"
	for functions, want := range map[string]string{
		driver:                         "",
		driver + fts5:                  "",
		driver + ",highlight":          "highlight",
		driver + fts5 + ",boom,boom,z": "boom,boom,z",
	} {
		assert.Equal(t, want, strings.Join(sqlite3.GuestsAmong(strings.Split(functions, ",")), ","), functions)
	}
}
