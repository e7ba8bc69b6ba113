/* recipe.h: defaults of other sections when a run starts from pretrained weights.
 *
 * A few hundred images on top of a network that knows millions want another run than random weights do: shorter,
 * gentler, with batch-norm statistics left alone. While transfer_is_on and transfer.recipe is true, each row of
 * recipe.def replaces the value of an option that stands at its default, in a spec file too (a complete spec repeats
 * all defaults); what the file changes and what the command line says stay. Done once, it sets transfer.recipe to
 * false: the resolved spec means exactly what it says, and reads back to itself.
 */
#ifndef GRAFT_CONFIG_RECIPE_H
#define GRAFT_CONFIG_RECIPE_H

#include "core/config/config.h"

extern const char recipe_origin[]; /* of the values that it set: "transfer recipe" */

/* transfer.enable, or, when that is auto, whether weights but not the graph come from model.pretrained. */
bool transfer_is_on(const spec *s);

/* Before what options mean together is checked. */
status recipe_apply(config *c);

#endif
