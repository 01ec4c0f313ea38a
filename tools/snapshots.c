#include "tools/snapshots.h"

#include <stdio.h>
#include <string.h>

#include "catalog/catalog.h"
#include "tools/output.h"

const char *snapshot_types(uint8_t types, char out[SNAPSHOT_TYPES_SIZE])
{
    out[0] = '\0';
    if (types == (1 << TYPE_FILES | 1 << TYPE_CONFIG | 1 << TYPE_DATABASE))
        return strcpy(out, "all");
    for (int type = TYPE_FILES; type <= TYPES; type++) {
        size_t used = strlen(out);

        if (types & 1 << type)
            (void)snprintf(out + used, SNAPSHOT_TYPES_SIZE - used, "%s%s", used ? "," : "",
                           snapshot_type_name((enum snapshot_type)type));
    }
    return out;
}

struct json_object *snapshot_json(const struct snapshot_row *row)
{
    struct json_object *object = json_object_new_object();
    char types[SNAPSHOT_TYPES_SIZE];

    json_object_object_add(object, "name", json_object_new_string(row->name));
    json_object_object_add(object, "type",
                           json_object_new_string(snapshot_types(row->types, types)));
    json_object_object_add(object, "host", output_json_text(row->host, strlen(row->host)));
    json_object_object_add(object, "start", output_json_time(row->start_ns));
    json_object_object_add(object, "end", output_json_time(row->end_ns));
    json_object_object_add(object, "complete", json_object_new_boolean(row->complete));
    json_object_object_add(object, "adhoc", json_object_new_boolean(row->adhoc));
    json_object_object_add(object, "files", output_json_number(row->files));
    json_object_object_add(object, "bytes", output_json_number(row->bytes));
    json_object_object_add(object, "new_bytes", output_json_number(row->new_bytes));
    return object;
}
