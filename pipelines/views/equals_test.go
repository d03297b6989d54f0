package views

import (
	"fmt"
	"testing"
)

// What a query demands of a view's columns is known where it may be put on the view's rows, and only there.
func TestEquals(t *testing.T) {
	c := openCompiler(t)
	known := Tables{Catalog: *corpusCatalog(t), Views: map[string][]Column{"users": {{Name: "user_id", Type: "VARCHAR"}, {Name: "day", Type: "DATE"}, {Name: "n", Type: "BIGINT"}}}, Parameters: map[string]string{"who": "'b'"}}
	for sql, want := range map[string]string{
		"SELECT * FROM users WHERE user_id = 'a'":                                                           "[{user_id 'a'}]",
		"SELECT n FROM users u WHERE 'it''s' = U.USER_ID AND n > 3 AND (day = DATE '2026-01-01' AND n < 9)": "[{user_id 'it''s'} {day CAST('2026-01-01' AS DATE)}]",
		"SELECT * FROM users WHERE user_id = $who":                                                          "[{user_id 'b'}]",
		"SELECT * FROM batch.users WHERE user_id = 'a'":                                                     "[{user_id 'a'}]",
		"WITH w AS (SELECT * FROM users WHERE n = 7) SELECT * FROM w a, w b":                                "[{n 7}]",
		"SELECT (SELECT max(n) FROM users WHERE user_id = 'a') FROM events":                                 "[{user_id 'a'}]",
		"SELECT * FROM (FROM users) WHERE user_id = 'a'":                                                    "[]",
		"SELECT * FROM users WHERE user_id = 'a' OR n = 3":                                                  "[]",
		"SELECT * FROM users WHERE NOT user_id = 'a'":                                                       "[]",
		"SELECT * FROM users WHERE lower(user_id) = 'a'":                                                    "[]",
		"SELECT * FROM users WHERE user_id = upper('a')":                                                    "[]",
		"SELECT * FROM users WHERE user_id > 'a'":                                                           "[]",
		"SELECT * FROM users, events WHERE user_id = 'a'":                                                   "[]",
		"SELECT * FROM events LEFT JOIN users ON user_id = what WHERE user_id = 'a'":                        "[]",
		"SELECT * FROM users AS u(day, user_id) WHERE user_id = 'a'":                                        "[]",
		"SELECT * FROM users WHERE user_id = 'a' UNION ALL SELECT * FROM users":                             "[]",
		"SELECT * FROM users TABLESAMPLE 50% WHERE user_id = 'a'":                                           "[]",
		"SELECT * FROM users WHERE user_id = 'a' USING SAMPLE 5":                                            "[]",
		"WITH users AS (SELECT 1 AS user_id) SELECT * FROM users WHERE user_id = 1":                         "none",
		"SELECT user_id FROM users GROUP BY ALL HAVING user_id = 'a'":                                       "[]",
		"SELECT upper(user_id) AS user_id FROM users WHERE user_id = 'a'":                                   "[{user_id 'a'}]",
	} {
		q, err := c.Query(sql, known)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		got := "none"
		for _, table := range q.Tables {
			if table.Name == "users" {
				got = fmt.Sprint(table.Equals)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
