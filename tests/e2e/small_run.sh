# Sourced from the project's root, after tests/tap.sh: training that takes a second.
# $work is a folder for the test, $work/data the images.
work=$tap_dir/work
graft=$PWD/${OUT:-build}/graft
mkdir -p "$work"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

python3 tests/e2e/make_colours.py "$work/data"

run() { # FOLDER words...; how=exec: in the place of the shell that runs it, so that signals for $! reach it
    local folder=$1
    shift
    ${how:-} "$graft" train data.root="$work/data" model.arch=resnet10 model.stem=small model.width=0.25 \
        model.input_width=16 model.input_height=16 data.resize=stretch data.threads=1 \
        train.epochs=2 train.batch_size=4 train.threads=1 train.device=cpu \
        schedule.learning_rate=0.02 schedule.scale_with_world=false \
        train.output="$work/$folder" "$@"
}
