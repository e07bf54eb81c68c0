// SPDX-License-Identifier: MIT OR Apache-2.0
// A session by MariaDB's client library, of all that the protocol offers to one: text, prepared statements with cursor,
// long data and arrays, several results, a local file, another user, and the commands besides. Arguments: port, a
// file to load. Prints the numbers that only the server knows. Ends with 1 where anything goes another way.
#include <mysql.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static MYSQL *db;

#define CHECK(call) do { if (call) fail(#call); } while (0)

static void fail(const char *call)
{
	fprintf(stderr, "%s: %s\n", call, mysql_error(db));
	exit(1);
}

static void drain(void)
{
	do {
		MYSQL_RES *result = mysql_store_result(db);
		if (result)
			mysql_free_result(result);
	} while (mysql_next_result(db) == 0);
}

static void query(const char *text)
{
	CHECK(mysql_query(db, text));
	drain();
}

static MYSQL_STMT *prepare(const char *text)
{
	MYSQL_STMT *stmt = mysql_stmt_init(db);
	CHECK(mysql_stmt_prepare(stmt, text, strlen(text)));
	return stmt;
}

static void insert(void)
{
	MYSQL_STMT *stmt = prepare("INSERT INTO t VALUES (?, ?)");
	MYSQL_BIND bind[2] = { 0 };
	int id = 1;
	unsigned long length = 3;
	char null = 1;

	bind[0].buffer_type = MYSQL_TYPE_LONG;
	bind[0].buffer = &id;
	bind[1].buffer_type = MYSQL_TYPE_STRING;
	bind[1].buffer = "one";
	bind[1].length = &length;
	CHECK(mysql_stmt_bind_param(stmt, bind));
	CHECK(mysql_stmt_execute(stmt));
	id = 2;
	bind[1].is_null = &null;
	CHECK(mysql_stmt_bind_param(stmt, bind));
	CHECK(mysql_stmt_execute(stmt));
	// As long data, in two pieces.
	id = 3;
	null = 0;
	bind[1].buffer_type = MYSQL_TYPE_BLOB;
	CHECK(mysql_stmt_bind_param(stmt, bind));
	CHECK(mysql_stmt_send_long_data(stmt, 1, "th", 2));
	CHECK(mysql_stmt_send_long_data(stmt, 1, "ree", 3));
	CHECK(mysql_stmt_execute(stmt));
	CHECK(mysql_stmt_reset(stmt));
	CHECK(mysql_stmt_close(stmt));
}

static void bulk(void)
{
	MYSQL_STMT *stmt = prepare("INSERT INTO t VALUES (?, 'bulk')");
	MYSQL_BIND bind[1] = { 0 };
	int ids[] = { 10, 11, 12 };
	unsigned int count = 3;

	CHECK(mysql_stmt_attr_set(stmt, STMT_ATTR_ARRAY_SIZE, &count));
	bind[0].buffer_type = MYSQL_TYPE_LONG;
	bind[0].buffer = ids;
	CHECK(mysql_stmt_bind_param(stmt, bind));
	CHECK(mysql_stmt_execute(stmt));
	CHECK(mysql_stmt_close(stmt));
}

static void select_all(unsigned long cursor)
{
	MYSQL_STMT *stmt = prepare("SELECT id, name FROM t WHERE id < ? ORDER BY id");
	MYSQL_BIND bind[1] = { 0 }, result[2] = { 0 };
	long long below = 12;
	int id, rows = 0;
	char name[16];
	unsigned long two = 2;

	if (cursor) {
		CHECK(mysql_stmt_attr_set(stmt, STMT_ATTR_CURSOR_TYPE, &cursor));
		CHECK(mysql_stmt_attr_set(stmt, STMT_ATTR_PREFETCH_ROWS, &two));
	}
	bind[0].buffer_type = MYSQL_TYPE_LONGLONG;
	bind[0].buffer = &below;
	CHECK(mysql_stmt_bind_param(stmt, bind));
	CHECK(mysql_stmt_execute(stmt));
	result[0].buffer_type = MYSQL_TYPE_LONG;
	result[0].buffer = &id;
	result[1].buffer_type = MYSQL_TYPE_STRING;
	result[1].buffer = name;
	result[1].buffer_length = sizeof(name);
	CHECK(mysql_stmt_bind_result(stmt, result));
	while (mysql_stmt_fetch(stmt) == 0)
		rows++;
	CHECK(rows != 5);
	CHECK(mysql_stmt_close(stmt));
}

int main(int argc, char **argv)
{
	char load[512];
	int on = 1;

	if (argc != 3)
		return 2;
	db = mysql_init(NULL);
	mysql_options(db, MYSQL_OPT_LOCAL_INFILE, &on);
	mysql_options4(db, MYSQL_OPT_CONNECT_ATTR_ADD, "program", "test");
	if (!mysql_real_connect(db, "127.0.0.1", "tester", "hunter2", "test", atoi(argv[1]), NULL,
				CLIENT_MULTI_STATEMENTS))
		fail("connect");
	printf("%lu\n", mysql_thread_id(db));
	query("CREATE TABLE t (id int, name varchar(20))");
	CHECK(mysql_ping(db));
	insert();
	bulk();
	select_all(0);
	select_all(CURSOR_TYPE_READ_ONLY);
	query("SELECT 1 AS a; UPDATE t SET name = 'x' WHERE id > 10; SELECT 2 UNION SELECT 3");
	CHECK(!mysql_query(db, "SELECT * FROM nowhere"));
	CHECK(!mysql_stmt_prepare(mysql_stmt_init(db), "SELECT FROM", 11));
	snprintf(load, sizeof(load), "LOAD DATA LOCAL INFILE '%s' INTO TABLE t", argv[2]);
	query(load);
	query("CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END");
	query("CALL p()");
	CHECK(mysql_select_db(db, "test"));
	CHECK(!mysql_stat(db));
	CHECK(mysql_set_server_option(db, MYSQL_OPTION_MULTI_STATEMENTS_OFF));
	CHECK(mysql_reset_connection(db));
	query("CREATE USER other IDENTIFIED BY 'pa55'");
	CHECK(mysql_change_user(db, "other", "pa55", NULL));
	query("SELECT CURRENT_USER()");
	CHECK(!mysql_change_user(db, "tester", "wrong", "test"));
	mysql_close(db);
	return 0;
}
