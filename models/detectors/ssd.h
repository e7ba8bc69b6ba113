/* ssd.h: what SSD and DSSD share. Private to models/detectors.
 *
 *     edge_id map[SSD_MAPS];
 *     TRY(ssd_find_maps(&n, &stages, &spec, map));
 *     TRY(ssd_finish(&n, map, &spec, 3));
 */
#ifndef GRAFT_MODELS_SSD_H
#define GRAFT_MODELS_SSD_H

#include "models/detectors/detectors.h"
#include "models/parts/layers.h"

enum { SSD_MAPS = 6 };

/* Checks section [ssd]; the backbone's maps of stride 8 and more, and further ones behind them. */
status ssd_find_maps(net *n, const model_stages *stages, const spec *s, edge_id map[SSD_MAPS]);

/* Predictions from each map, up to the graph's output. */
status ssd_finish(net *n, const edge_id map[SSD_MAPS], const spec *s, int64_t classes);

#endif
